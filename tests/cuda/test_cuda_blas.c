/* cuBLASLt's libraries, as far as they can be opened without a card.
 *
 *     test_cuda_blas LIBRARY...    libcublasLt.so.12 and .13; those that are not there are skipped,
 *                                  and with none left the test is (77) */
#include <dlfcn.h>
#include <link.h>
#include <sys/wait.h>
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

/* ---- which version is looked for ---- */

/* The child of the test below: 13 where what stands in the newest's place was opened. */
static int open_for_driver(const char *version)
{
    struct cuda_blas blas;
    char error[ERROR_BYTES] = "";
    setenv("WEIR_CUBLASLT", "", 1); /* as good as none */
    cuda_blas_open(&blas, atoi(version), error);
    return strstr(error, "cuBLASLt has no cublasLt") != NULL ? 13 : 12;
}

static int run_for_driver(const char *program, const char *version)
{
    int status;
    const pid_t pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0) {
        execl(program, program, "--driver", version, NULL);
        _exit(1);
    }
    EXPECT_EQUAL(waitpid(pid, &status, 0), pid);
    EXPECT(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Another library in the place of version 13 tells by what it lacks that it was opened; the loader
 * reads the path when a program starts, hence the children. */
static void version_13_is_for_drivers_that_serve_it(const char *program)
{
    char folder[] = "/tmp/test_cuda_blas.XXXXXX", path[64];
    struct link_map *other = NULL;
    void *handle = dlopen("libm.so.6", RTLD_NOW);
    EXPECT(handle != NULL && dlinfo(handle, RTLD_DI_LINKMAP, &other) == 0);
    EXPECT(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/libcublasLt.so.13", folder);
    EXPECT_EQUAL(symlink(other->l_name, path), 0);
    setenv("LD_LIBRARY_PATH", folder, 1);
    EXPECT_EQUAL(run_for_driver(program, "12080"), 12); /* as some clouds have it */
    EXPECT_EQUAL(run_for_driver(program, "12999"), 12);
    EXPECT_EQUAL(run_for_driver(program, "13000"), 13);
    EXPECT_EQUAL(run_for_driver(program, "14000"), 13);
    unsetenv("LD_LIBRARY_PATH");
    unlink(path);
    rmdir(folder);
    dlclose(handle);
}

int main(int argc, char **argv)
{
    int n_there = 0;
    if (argc == 3 && strcmp(argv[1], "--driver") == 0)
        return open_for_driver(argv[2]);
    version_13_is_for_drivers_that_serve_it(argv[0]);
    printf("ok version_13_is_for_drivers_that_serve_it\n");
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
