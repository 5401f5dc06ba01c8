/* The stand-in's insides, shared by memory.cpp, runtime.cpp and blas.cpp. */
#ifndef WEIR_TESTS_CUDA_STANDIN_DEVICE_H
#define WEIR_TESTS_CUDA_STANDIN_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include <functional>

#include <cuda_runtime_api.h>

namespace standin
{

/* One piece of work of a stream. Returns how it ended. */
typedef std::function<cudaError_t()> operation;

/* Ends the process: the program misused CUDA. */
[[noreturn]] void misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Counts a call that can fail; true where a test wants this one to fail. */
bool call_shall_fail(const char *call = __builtin_FUNCTION());

/* The same for a call of the runtime: its error, or cudaSuccess where it goes on. Once the card has
 * failed every call reports that. As in CUDA, the calling thread remembers the error, and a launch
 * that follows takes it for its own. */
cudaError_t call_error(cudaError_t failure, const char *call = __builtin_FUNCTION());

bool card_has_failed();

void object_made();
void object_destroyed();
void count_matmul();

/* 89 is 8.9. */
int card_compute_capability();

/* Lets the card's own clock, which events read, go on: it is the same in every run. */
void spend_ns(uint64_t ns);

/* Ends the process unless [pointer, pointer + bytes) lies in one live allocation, aligned. */
void check_range(const void *pointer, size_t bytes, size_t alignment, const char *what);

/* Queues work, or records it where the stream is being captured. */
cudaError_t enqueue(cudaStream_t stream, operation work);

/* Ends the process where another stream may still use the workspace: it was the last to get it, and
 * nobody has waited for it. Not asked of captures, whose work runs on the stream of their launch.
 */
void check_workspace_is_free(const void *workspace, cudaStream_t stream);
void workspace_was_given(const void *workspace, cudaStream_t stream);

/* Ends the process where the calling thread captures a stream: the call would break that. */
void check_no_capture(const char *call);

bool is_capturing(cudaStream_t stream);

/* A call failed that was to put work on the stream: where it is being captured, nothing comes of
 * that. */
void spoil_capture(cudaStream_t stream);

} // namespace standin

#endif
