/* The stand-in's device, streams, captures and graphs. One thread plays the card: it works off what
 * is queued, in order, while the program goes on. */
#include "standin/device.h"
#include "standin/standin.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "emulation/gpu.h"

/* CUDA's opaque types are ours to define. */
struct CUgraph_st {
    std::vector<standin::operation> operations;
};
struct CUgraphExec_st {
    std::vector<standin::operation> operations;
    cudaStream_t uploading_on = nullptr; /* until somebody has waited for that stream */
};
struct CUevent_st {
    uint64_t ns = 0;
    bool recorded = false;
};
struct CUstream_st {
    CUgraph_st *capture = nullptr;
    std::thread::id capturer;
    bool capture_is_spoilt = false; /* a call within it failed */
    uint64_t last_work = 0;         /* its number, of all that the card was given */
    std::vector<cudaGraphExec_t> uploads;
};

namespace standin
{

std::atomic<uint64_t> n_graph_launches, n_queries;

static std::atomic<uint64_t> card_ns;
static const char *card_name = "CUDA stand-in";

void spend_ns(uint64_t ns)
{
    card_ns += ns;
}

struct card_state {
    std::mutex mutex;
    std::condition_variable work_came, work_done;
    std::deque<operation> queue;
    uint64_t n_queued = 0, n_done = 0;
    uint64_t n_waited = 0; /* the program has waited for all up to this number */
    bool hang = false;
    std::atomic<bool> break_next_kernel{false};
    std::atomic<uint64_t> failing_launch{0}, slow_kernel_ns{0};
    std::atomic<const char *> slow_kernel{nullptr};
    std::atomic<cudaError_t> sticky{cudaSuccess}; /* a failed kernel spoils the context for good */
    bool is_on = false;
    std::atomic<int> n_streams{0};
    std::condition_variable gate_moved;
    uint64_t graphs_allowed = UINT64_MAX, failing_graph = 0;
    int n_devices = 1, major = 9, minor = 0, n_multiprocessors = 132, driver_version = 13000;
};

/* As in CUDA: an error is remembered for the thread that met it, and a capture in thread-local mode
 * forbids calls to its own thread only. */
static thread_local cudaError_t last_error = cudaSuccess;
static thread_local int n_captures;

/* Never destroyed: the card's thread uses it until the process ends. */
static card_state &card = *new card_state;

int card_compute_capability()
{
    return 10 * card.major + card.minor;
}

/* True once for each time that somebody puts the file `name` into WEIR_STANDIN_FAULTS. */
static bool fault_is_asked_for(const char *name)
{
    static const char *const folder = getenv("WEIR_STANDIN_FAULTS");
    return folder != nullptr && unlink((std::string(folder) + "/" + name).c_str()) == 0;
}

static void work_off()
{
    std::unique_lock<std::mutex> lock(card.mutex);
    while (true) {
        card.work_came.wait(lock, [] { return !card.queue.empty() && !card.hang; });
        if (fault_is_asked_for("hang")) {
            card.hang = true; /* for good: only another process gets a working card */
            continue;
        }
        if (fault_is_asked_for("break"))
            card.sticky = cudaErrorIllegalAddress;
        operation work = std::move(card.queue.front());
        card.queue.pop_front();
        lock.unlock();
        const cudaError_t ended = card.sticky == cudaSuccess ? work() : card.sticky.load();
        lock.lock();
        card.n_done++;
        if (ended != cudaSuccess)
            card.sticky = ended;
        card.work_done.notify_all();
    }
}

static void queue_for_card(cudaStream_t stream, operation work)
{
    std::lock_guard<std::mutex> lock(card.mutex);
    if (!card.is_on) {
        std::thread(work_off).detach(); /* lives as long as the process, as a card does */
        card.is_on = true;
    }
    card.queue.push_back(std::move(work));
    stream->last_work = ++card.n_queued;
    card.work_came.notify_one();
}

/* The last work that was given a workspace, by hand and not in a graph. */
struct workspace_use {
    cudaStream_t stream;
    uint64_t number;
};
static std::map<const void *, workspace_use> workspace_uses; /* under the card's mutex */

void check_workspace_is_free(const void *workspace, cudaStream_t stream)
{
    std::lock_guard<std::mutex> lock(card.mutex);
    const auto use = workspace_uses.find(workspace);
    if (use != workspace_uses.end() && use->second.stream != stream &&
        use->second.number > card.n_waited)
        misuse("a workspace that another stream may still be using");
}

void workspace_was_given(const void *workspace, cudaStream_t stream)
{
    std::lock_guard<std::mutex> lock(card.mutex);
    workspace_uses[workspace] = {stream, stream->last_work};
}

bool card_has_failed()
{
    return card.sticky != cudaSuccess;
}

/* What a call returns: the thread remembers an error, and the card's comes before any other. */
static cudaError_t ended(cudaError_t status)
{
    const cudaError_t sticky = card.sticky;
    if (sticky != cudaSuccess)
        status = sticky;
    if (status != cudaSuccess)
        last_error = status;
    return status;
}

cudaError_t call_error(cudaError_t failure, const char *call)
{
    return ended(call_shall_fail(call) ? failure : cudaSuccess);
}

void check_no_capture(const char *call)
{
    if (n_captures > 0)
        misuse("%s by a thread that captures a stream", call);
}

static void check_not_capturing(cudaStream_t stream, const char *call)
{
    if (stream == nullptr || stream->capture != nullptr)
        misuse("%s needs a stream of its own, that is not being captured", call);
}

bool is_capturing(cudaStream_t stream)
{
    return stream != nullptr && stream->capture != nullptr;
}

void spoil_capture(cudaStream_t stream)
{
    if (is_capturing(stream))
        stream->capture_is_spoilt = true;
}

cudaError_t enqueue(cudaStream_t stream, operation work)
{
    if (stream == nullptr)
        misuse("work on the legacy stream: it waits for all others, and cannot be captured");
    if (stream->capture != nullptr && stream->capturer != std::this_thread::get_id())
        misuse("work of one thread on a stream that another one captures");
    if (stream->capture != nullptr)
        stream->capture->operations.push_back(std::move(work));
    else
        queue_for_card(stream, std::move(work));
    return cudaSuccess;
}

/* Every kernel launch comes here. Kernels' own tests have no stream: theirs run at once. */
static cudaError_t launch_kernel(const char *name, dim3 grid, dim3 block, cudaStream_t stream,
                                 std::function<void()> kernel, const gpu::arguments &)
{
    if (stream == nullptr && card.n_streams == 0) {
        gpu::run_grid(name, grid, block, kernel);
        return cudaSuccess;
    }
    if (call_error(cudaErrorLaunchFailure, "a kernel") != cudaSuccess) {
        spoil_capture(stream);
        return cudaGetLastError();
    }
    enqueue(stream, [=] {
        const char *slow = card.slow_kernel;
        if (card.break_next_kernel.exchange(false))
            return cudaErrorIllegalAddress;
        if (slow != nullptr && strstr(name, slow) != nullptr)
            spend_ns(card.slow_kernel_ns);
        gpu::run_grid(name, grid, block, kernel);
        return cudaSuccess;
    });
    return cudaGetLastError(); /* as LAUNCH does: older errors of this thread are met here */
}

static const bool hook_is_set = (gpu::set_launch_hook(launch_kernel), true);

static cudaError_t wait_for_work(uint64_t number)
{
    std::unique_lock<std::mutex> lock(card.mutex);
    card.work_done.wait(lock, [=] { return card.n_done >= number; });
    card.n_waited = std::max(card.n_waited, number);
    return ended(cudaSuccess);
}

/* For all that it was given so far. */
static cudaError_t wait_for_card()
{
    std::unique_lock<std::mutex> lock(card.mutex);
    const uint64_t number = card.n_queued;
    lock.unlock();
    return wait_for_work(number);
}

} // namespace standin

using namespace standin;

extern "C" {

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = card.n_devices;
    while (fault_is_asked_for("hang-device"))
        sleep(UINT_MAX); /* for ever: only another process gets an answer */
    if (card.n_devices == 0)
        return ended(cudaErrorNoDevice);
    return call_error(cudaErrorInsufficientDriver);
}

cudaError_t cudaSetDevice(int device)
{
    if (device != 0)
        misuse("cudaSetDevice(%d)", device);
    return call_error(cudaErrorDevicesUnavailable);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int)
{
    memset(properties, 0, sizeof *properties);
    snprintf(properties->name, sizeof properties->name, "%s", card_name);
    properties->major = card.major;
    properties->minor = card.minor;
    properties->multiProcessorCount = card.n_multiprocessors;
    return call_error(cudaErrorInvalidDevice);
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int)
{
    if (attribute != cudaDevAttrMultiProcessorCount)
        misuse("an attribute that the stand-in does not know: %d", (int)attribute);
    *value = card.n_multiprocessors;
    return card.n_devices > 0 ? call_error(cudaErrorInvalidValue) : ended(cudaErrorNoDevice);
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = card.driver_version;
    return call_error(cudaErrorInvalidValue);
}

const char *cudaGetErrorName(cudaError_t error)
{
    return error == cudaErrorIllegalAddress ? "cudaErrorIllegalAddress" : "cudaError";
}

const char *cudaGetErrorString(cudaError_t)
{
    return "an error that the stand-in was asked for";
}

cudaError_t cudaGetLastError(void)
{
    const cudaError_t last = ended(last_error);
    last_error = cudaSuccess;
    return last;
}

cudaError_t cudaDeviceSynchronize(void)
{
    return wait_for_card();
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    if (flags != cudaStreamNonBlocking)
        misuse("a stream that waits for the legacy stream");
    const cudaError_t error = call_error(cudaErrorInvalidValue);
    if (error != cudaSuccess)
        return error;
    *stream = new CUstream_st;
    card.n_streams++;
    object_made();
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    if (stream->capture != nullptr)
        misuse("a stream is destroyed while it is being captured");
    wait_for_card();
    delete stream;
    card.n_streams--;
    object_destroyed();
    return ended(cudaSuccess);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    check_no_capture("cudaStreamSynchronize");
    check_not_capturing(stream, "cudaStreamSynchronize");
    const cudaError_t status = wait_for_work(stream->last_work);
    const cudaError_t error = call_error(cudaErrorUnknown);
    if (error != cudaSuccess)
        return error;
    for (cudaGraphExec_t exec : stream->uploads)
        exec->uploading_on = nullptr;
    stream->uploads.clear();
    return status;
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    check_not_capturing(stream, "cudaStreamQuery");
    n_queries++;
    std::lock_guard<std::mutex> lock(card.mutex);
    return ended(card.n_done >= stream->last_work ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    const cudaError_t error = call_error(cudaErrorMemoryAllocation);
    if (error != cudaSuccess)
        return error;
    *event = new CUevent_st;
    object_made();
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    wait_for_card();
    delete event;
    object_destroyed();
    return ended(cudaSuccess);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    check_no_capture("cudaEventRecord");
    const cudaError_t error = call_error(cudaErrorUnknown);
    if (error != cudaSuccess)
        return error;
    return enqueue(stream, [=] {
        event->ns = card_ns;
        event->recorded = true;
        return cudaSuccess;
    });
}

cudaError_t cudaEventSynchronize(cudaEvent_t)
{
    check_no_capture("cudaEventSynchronize");
    wait_for_card();
    return call_error(cudaErrorUnknown);
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t began, cudaEvent_t end)
{
    if (!card_has_failed() && (!began->recorded || !end->recorded))
        misuse("cudaEventElapsedTime of an event that was not recorded");
    const cudaError_t error = call_error(cudaErrorNotReady);
    *milliseconds = error == cudaSuccess ? (float)(end->ns - began->ns) / 1e6f : -1e9f;
    return error;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    check_not_capturing(stream, "cudaStreamBeginCapture");
    if (mode != cudaStreamCaptureModeThreadLocal)
        misuse("a capture that calls of other threads would break");
    stream->capture_is_spoilt = false;
    const cudaError_t error = call_error(cudaErrorStreamCaptureUnsupported);
    if (error != cudaSuccess)
        return error;
    stream->capture = new CUgraph_st;
    stream->capturer = std::this_thread::get_id();
    n_captures++;
    object_made();
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    if (stream->capture == nullptr || stream->capturer != std::this_thread::get_id())
        misuse("the end of a capture that this thread never began");
    *graph = stream->capture;
    stream->capture = nullptr;
    n_captures--;
    const cudaError_t error = call_error(cudaErrorStreamCaptureInvalidated);
    if (error == cudaSuccess && !stream->capture_is_spoilt)
        return cudaSuccess;
    cudaGraphDestroy(*graph);
    *graph = nullptr;
    return ended(cudaErrorStreamCaptureInvalidated);
}

/* Where a test counts graphs: those behind the gate wait, one of them may be made to fail. */
static bool pass_gate()
{
    std::unique_lock<std::mutex> lock(card.mutex);
    card.gate_moved.wait(lock, [] { return card.graphs_allowed > 0; });
    if (card.graphs_allowed != UINT64_MAX)
        card.graphs_allowed--;
    return card.failing_graph == 0 || --card.failing_graph > 0;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags)
{
    check_no_capture("cudaGraphInstantiate");
    if (flags != 0)
        misuse("cudaGraphInstantiate with flags");
    const bool passes = pass_gate();
    const cudaError_t error = call_error(cudaErrorMemoryAllocation);
    if (!passes || error != cudaSuccess)
        return ended(cudaErrorMemoryAllocation);
    *exec = new CUgraphExec_st{graph->operations};
    object_made();
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    object_destroyed();
    return ended(cudaSuccess);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    check_no_capture("cudaGraphExecDestroy");
    wait_for_card();
    if (exec->uploading_on != nullptr)
        for (cudaGraphExec_t &upload : exec->uploading_on->uploads)
            if (upload == exec) {
                upload = exec->uploading_on->uploads.back();
                exec->uploading_on->uploads.pop_back();
                break;
            }
    delete exec;
    object_destroyed();
    return ended(cudaSuccess);
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream)
{
    check_not_capturing(stream, "cudaGraphUpload");
    const cudaError_t error = call_error(cudaErrorMemoryAllocation);
    if (error != cudaSuccess)
        return error;
    exec->uploading_on = stream;
    stream->uploads.push_back(exec);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    check_not_capturing(stream, "cudaGraphLaunch");
    if (exec->uploading_on != nullptr && exec->uploading_on != stream)
        misuse("the launch of a graph whose upload, on another stream, nobody has waited for");
    n_graph_launches++;
    const uint64_t failing = card.failing_launch;
    card.failing_launch = failing > 0 ? failing - 1 : 0;
    const cudaError_t error = call_error(cudaErrorMemoryAllocation);
    if (error != cudaSuccess || failing == 1)
        return ended(cudaErrorMemoryAllocation);
    for (const operation &work : exec->operations)
        queue_for_card(stream, work);
    return cudaSuccess;
}

/* ---- the tests' side ---- */

void standin_set_device(int n_devices, int major, int minor, int n_multiprocessors)
{
    card.n_devices = n_devices;
    card.major = major;
    card.minor = minor;
    card.n_multiprocessors = n_multiprocessors;
}

void standin_set_driver_version(int version)
{
    card.driver_version = version;
}

void standin_set_name(const char *name)
{
    card_name = name;
}

void standin_hang(bool hang)
{
    std::lock_guard<std::mutex> lock(card.mutex);
    card.hang = hang;
    card.work_came.notify_one();
}

void standin_allow_graphs(uint64_t n)
{
    std::lock_guard<std::mutex> lock(card.mutex);
    card.graphs_allowed = n;
    card.gate_moved.notify_all();
}

void standin_fail_graph(uint64_t n)
{
    std::lock_guard<std::mutex> lock(card.mutex);
    card.failing_graph = n;
}

void standin_fail_graph_launch(uint64_t n)
{
    card.failing_launch = n;
}

void standin_set_kernel_time(const char *word, uint64_t ns)
{
    card.slow_kernel_ns = ns;
    card.slow_kernel = word;
}

void standin_break_next_kernel(void)
{
    card.break_next_kernel = true;
}

void standin_reset(void)
{
    if (standin_counters().live_objects != 0)
        misuse("a reset while objects are alive");
    standin_hang(false);
    wait_for_card();
    card.sticky = last_error = cudaSuccess;
    standin_allow_graphs(UINT64_MAX);
    standin_fail_graph(0);
    standin_fail_graph_launch(0);
    standin_set_kernel_time(nullptr, 0);
    standin_forbid_capture_of_narrow(false);
    standin_change_bits_of_few_rows(false);
    standin_want_workspace(0);
    standin_set_device(1, 9, 0, 132);
    standin_set_driver_version(13000);
    standin_set_name("CUDA stand-in");
    standin_fail_call(0);
}

} /* extern "C" */
