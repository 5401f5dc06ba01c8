/* cuBLASLt's libraries, as far as they can be opened without a card.
 *
 *     test_cuda_blas LIBRARY...    libcublasLt.so.12 and .13; those that are not there are skipped,
 *                                  and with none left the test is (77) */
#include <unistd.h>

#include "gpu_worker/cuda_blas.h"
#include "shm/log.h"
#include "tests/test.h"

#define EXIT_SKIPPED  77
#define DRIVER_NEWEST 99000

/* Opened, with every function found; a handle is more than a machine without a card can give. */
static void the_library_has_what_we_call(const char *path)
{
    struct cuda_blas blas;
    char error[ERROR_BYTES] = "";
    setenv("WEIR_CUBLASLT", path, 1);
    const int result = cuda_blas_open(&blas, DRIVER_NEWEST, error);
    printf("%s: %s\n", path, result == 0 ? "opened" : error);
    EXPECT_EQUAL(result, 0);
    EXPECT(blas.version >= 120000 && blas.version < 140000);
    const int created = cuda_blas_create_handle(&blas, error);
    EXPECT(created == 0 || strncmp(error, "cuBLASLt: cublasLtCreate failed", 31) == 0);
    cuda_blas_close(&blas);
}

static void a_library_without_cublaslt_is_refused(void)
{
    struct cuda_blas blas;
    char error[ERROR_BYTES] = "";
    setenv("WEIR_CUBLASLT", "libm.so.6", 1);
    EXPECT(cuda_blas_open(&blas, DRIVER_NEWEST, error) != 0);
    EXPECT(strstr(error, "cuBLASLt has no cublasLt") != NULL);
    cuda_blas_close(&blas);
}

static void a_missing_library_is_refused_with_advice(void)
{
    struct cuda_blas blas;
    char error[ERROR_BYTES] = "";
    setenv("WEIR_CUBLASLT", "/nowhere/libcublasLt.so.12", 1);
    EXPECT(cuda_blas_open(&blas, DRIVER_NEWEST, error) != 0);
    EXPECT(strstr(error, "/nowhere/libcublasLt.so.12") != NULL);
    EXPECT(strstr(error, "install libcublas of CUDA 12 or 13") != NULL);
    cuda_blas_close(&blas);
}

int main(int argc, char **argv)
{
    int n_there = 0;
    RUN(a_library_without_cublaslt_is_refused);
    RUN(a_missing_library_is_refused_with_advice);
    for (int i = 1; i < argc; i++) {
        if (access(argv[i], R_OK) != 0) {
            printf("%s is not there\n", argv[i]);
            continue;
        }
        the_library_has_what_we_call(argv[i]);
        n_there++;
    }
    return n_there > 0 ? 0 : EXIT_SKIPPED;
}
