/* The module lies beside the program or in the lib folder beside its folder; nothing else is
 * searched, so no environment variable decides whose code the worker runs. */
#include "gpu_worker/backend.h"

#include "shm/log.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CUDA_MODULE "weir_encoder_cuda.so"
#define CUDA_SYMBOL "encoder_cuda"

/* The folder of the running program, without a slash at its end. */
static int program_folder(char folder[PATH_MAX])
{
    ssize_t length = readlink("/proc/self/exe", folder, PATH_MAX - 1);
    char *slash;

    if (length < 0)
        return -errno;
    folder[length] = 0;
    slash = strrchr(folder, '/');
    if (!slash)
        return -ENOENT;
    *slash = 0;
    return 0;
}

static void *open_module(char error[ERROR_BYTES])
{
    static const char *const places[] = {"", "/../lib"};
    char folder[PATH_MAX], path[PATH_MAX + 64];

    snprintf(error, ERROR_BYTES, "the cuda module %s is not installed beside the worker",
             CUDA_MODULE);
    if (program_folder(folder))
        return NULL;
    for (size_t i = 0; i < ARRAY_COUNT(places); i++) {
        void *module;

        snprintf(path, sizeof(path), "%s%s/%s", folder, places[i], CUDA_MODULE);
        if (access(path, R_OK) != 0)
            continue;
        module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!module)
            snprintf(error, ERROR_BYTES, "the cuda module does not open: %.180s", dlerror());
        return module;
    }
    return NULL;
}

static int create_encoder(struct backend_choice *choice, const struct encoder_backend *backend,
                          const struct model *model, const struct encoder_options *options,
                          char error[ERROR_BYTES])
{
    struct encoder_options own = *options;

    if (backend->useful_batch_tokens) {
        uint64_t useful = max_u64(backend->useful_batch_tokens(options), model->config.n_positions);
        own.max_batch_tokens = (uint32_t)min_u64(own.max_batch_tokens, useful);
    }
    choice->encoder = backend->create(model, &own, error);
    if (!choice->encoder)
        return -ENODEV;
    choice->backend = backend;
    choice->max_batch_tokens = own.max_batch_tokens;
    return 0;
}

static int open_cuda(struct backend_choice *choice, const struct model *model,
                     const struct encoder_options *options, char error[ERROR_BYTES])
{
    const struct encoder_backend *backend;
    int status;

    choice->module = open_module(error);
    if (!choice->module)
        return -ENOENT;
    backend = dlsym(choice->module, CUDA_SYMBOL);
    if (!backend) {
        snprintf(error, ERROR_BYTES, "the cuda module %s has no %s: another version of weir?",
                 CUDA_MODULE, CUDA_SYMBOL);
        status = -ENOEXEC;
    } else {
        status = create_encoder(choice, backend, model, options, error);
    }
    if (status)
        backend_close(choice);
    return status;
}

int backend_open(struct backend_choice *choice, const char *word, const struct model *model,
                 const struct encoder_options *options, char error[ERROR_BYTES])
{
    bool want_cpu = strcmp(word, "cpu") == 0, want_cuda = strcmp(word, "cuda") == 0;

    memset(choice, 0, sizeof(*choice));
    if (!want_cpu) {
        int status = open_cuda(choice, model, options, error);
        if (status == 0 || want_cuda)
            return status;
        log_info("--backend auto takes the cpu: %s", error);
    }
    return create_encoder(choice, &encoder_cpu, model, options, error);
}

void backend_close(struct backend_choice *choice)
{
    if (choice->encoder)
        choice->backend->destroy(choice->encoder);
    if (choice->module)
        dlclose(choice->module);
    memset(choice, 0, sizeof(*choice));
}
