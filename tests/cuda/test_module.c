/* The CUDA encoder as the worker meets it: a module that is opened by path.
 *
 *     test_module REAL STANDIN
 *
 * REAL is the module itself (- where it was not built), which on a machine without a card must
 * refuse in a sentence; STANDIN is the one over the stand-in, which must answer. */
#include <dlfcn.h>
#include <math.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gpu_worker/encoder.h"
#include "tests/gpu_worker/random_model.h"
#include "tests/gpu_worker/reference_encoder.h"
#include "tests/test.h"

static const struct encoder_options OPTIONS = {.max_batch_tokens = 16, .max_batch_sequences = 2};

static const struct encoder_backend *open_module(const char *path)
{
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (module == NULL)
        fprintf(stderr, "%s\n", dlerror());
    EXPECT(module != NULL);
    const struct encoder_backend *backend = dlsym(module, "encoder_cuda");
    EXPECT(backend != NULL);
    EXPECT_STRING(backend->name, "cuda");
    return backend;
}

static void the_module_answers_or_refuses_in_a_sentence(const char *path)
{
    const struct encoder_backend *backend = open_module(path);
    struct random_model random;
    char error[ERROR_BYTES] = "";
    random_model_make(&random, &RANDOM_MODEL_SMALL, 1);
    struct encoder *encoder = backend->create(&random.model, &OPTIONS, error);
    if (encoder == NULL) {
        printf("refused: %s\n", error);
        EXPECT(strstr(error, "--backend cpu") != NULL);
    } else {
        printf("made: %s\n", backend->describe(encoder));
    }
    backend->destroy(encoder);
    random_model_free(&random);
}

static void the_standin_module_answers(const char *path)
{
    const struct encoder_backend *backend = open_module(path);
    const uint32_t input_ids[] = {3, 1, 4, 1, 5, 9, 2}, cu_seqlens[] = {0, 4, 7};
    const uint32_t type_starts[] = {4, 3};
    const struct batch batch = {input_ids, cu_seqlens, type_starts, 2, 7};
    struct random_model random;
    char error[ERROR_BYTES] = "";
    float logits[4];
    double expected[2];
    random_model_make(&random, &RANDOM_MODEL_SMALL, 1);
    struct encoder *encoder = backend->create(&random.model, &OPTIONS, error);
    if (encoder == NULL)
        fprintf(stderr, "%s\n", error);
    EXPECT(encoder != NULL);
    EXPECT_EQUAL(backend->forward(encoder, &batch, logits), 0);
    for (uint32_t s = 0; s < 2; s++) {
        reference_logits(&random.model, input_ids + cu_seqlens[s],
                         cu_seqlens[s + 1] - cu_seqlens[s], type_starts[s], expected);
        for (uint32_t i = 0; i < 2; i++)
            EXPECT(fabs(logits[2 * s + i] - expected[i]) < 1e-2);
    }
    backend->destroy(encoder);
    random_model_free(&random);
}

/* ---- its voice ---- */

#define CHILD_TIMEOUT_S 30

static int ends[2];

static void keep_last_words(const char *sentence)
{
    if (write(ends[1], sentence, strlen(sentence)) < 0)
        _exit(1);
}

static void break_a_check(const char *path)
{
    const struct encoder_voice voice = {.log = {"a test", true, LOG_SEVERITY_WARNING},
                                        .last_words = keep_last_words};
    struct encoder_options options = OPTIONS;
    const uint32_t input_ids[17] = {0}, cu_seqlens[] = {0, 17}, type_starts[] = {17};
    const struct batch too_large = {input_ids, cu_seqlens, type_starts, 1, 17};
    struct random_model random;
    char error[ERROR_BYTES];
    options.voice = &voice;
    random_model_make(&random, &RANDOM_MODEL_SMALL, 1);
    const struct encoder_backend *backend = open_module(path);
    struct encoder *encoder = backend->create(&random.model, &options, error);
    backend->submit(encoder, &too_large);
    _exit(1);
}

/* Below the threshold it is silent, and what a broken CHECK says goes where the worker's goes. */
static void the_module_speaks_as_it_is_told(const char *path)
{
    char said[1024];
    int status;
    EXPECT_EQUAL(pipe(ends), 0);
    fflush(stdout);
    pid_t pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0) {
        alarm(CHILD_TIMEOUT_S);
        dup2(ends[1], STDERR_FILENO);
        break_a_check(path);
    }
    EXPECT_EQUAL(waitpid(pid, &status, 0), pid);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    ssize_t size = read(ends[0], said, sizeof(said) - 1);
    EXPECT(size > 0);
    said[size] = 0;
    /* First as last words, then on stderr; nothing before. */
    const char *sentence = "CHECK failed: ";
    EXPECT(strncmp(said, sentence, strlen(sentence)) == 0);
    EXPECT(strstr(said + 1, sentence) != NULL);
}

int main(int argc, char **argv)
{
    EXPECT_EQUAL(argc, 3);
    /* First: its child must not miss threads that a module of ours has started. */
    the_module_speaks_as_it_is_told(argv[2]);
    printf("ok the_module_speaks_as_it_is_told\n");
    the_standin_module_answers(argv[2]);
    printf("ok the_standin_module_answers\n");
    if (strcmp(argv[1], "-") != 0) {
        unsetenv("WEIR_CUBLASLT"); /* the stand-in's, for the stand-in only */
        the_module_answers_or_refuses_in_a_sentence(argv[1]);
        printf("ok the_module_answers_or_refuses_in_a_sentence\n");
    }
    return 0;
}
