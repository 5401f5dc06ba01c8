/* --dtype fp8 and its calibration, end to end over the stand-in: what is recorded is what plain
 * loops in double see; logits are those of plain loops that round the same numbers to the same
 * codes; and what is refused, in which words. */
#include <errno.h>
#include <math.h>
#include <unistd.h>

#include "gpu_worker/cuda_engine.h"
#include "gpu_worker/cuda_tune.h"
#include "tests/cuda/standin/standin.h"
#include "tests/gpu_worker/random_model.h"
#include "tests/gpu_worker/reference_encoder.h"
#include "tests/test.h"

#define TOKENS_MAX  192
#define LABELS_MAX  5
#define FINGERPRINT "00112233445566778899aabbccddeeff"
#define CALLS_MAX   100000

static char calibration_path[64]; /* of this process */

static const uint32_t LENGTHS[] = {5, 40, 1, 16, 33, 12};

/* ---- the twin ---- */

/* E4M3's nearest value, ties to even: in each power of two there are 8 steps. */
static double round_to_e4m3(double value)
{
    int exponent;
    frexp(value, &exponent);
    const double step = ldexp(1.0, (exponent - 1 < -6 ? -6 : exponent - 1) - 3);
    const double rounded = nearbyint(value / step) * step;
    return fmax(fmin(rounded, 448.0), -448.0);
}

enum watching { RECORDS, ROUNDS };

struct twin {
    enum watching watching;
    const struct model *model;
    struct model_calibration *calibration;
};

/* Which product of the body reads this; false for what the [CLS] tail computes in float16. */
static bool find_product(const struct model *model, const struct model_linear *linear,
                         uint32_t *layer, enum model_product *product)
{
    for (uint32_t i = 0; i < model->config.n_layers; i++) {
        const struct model_layer *l = &model->weights.layers[i];
        const struct model_linear *const products[] = {
            &l->query, &l->key, &l->value, &l->attention_output, &l->ffn_in, &l->ffn_out};
        for (uint32_t p = 0; p < ARRAY_COUNT(products); p++)
            if (products[p] == linear) {
                *layer = i;
                *product = p < 3 ? MODEL_PRODUCT_QKV : (enum model_product)(p - 2);
                return i + 1 < model->config.n_layers || p == 1 || p == 2;
            }
    }
    abort();
}

static void watch_input(void *context, const struct model_linear *linear, double *x, uint32_t n,
                        uint32_t in_dim)
{
    const struct twin *twin = context;
    enum model_product product;
    uint32_t layer;
    if (!find_product(twin->model, linear, &layer, &product))
        return;
    float *amax = &twin->calibration->amax[layer][product];
    const double scale = 2.0 * *amax / 448.0;
    for (uint64_t i = 0; i < (uint64_t)n * in_dim; i++)
        if (twin->watching == RECORDS)
            *amax = fmaxf(*amax, (float)fabs(x[i]));
        else
            x[i] = scale * round_to_e4m3(x[i] / scale);
}

static void round_weights(const struct model_linear *const *parts, uint32_t n_parts)
{
    double amax = 0.0;
    for (uint32_t part = 0; part < n_parts; part++)
        for (uint32_t i = 0; i < parts[part]->weight.rows * parts[part]->weight.columns; i++)
            amax = fmax(amax, fabs(((const float *)parts[part]->weight.data)[i]));
    for (uint32_t part = 0; part < n_parts; part++)
        for (uint32_t i = 0; i < parts[part]->weight.rows * parts[part]->weight.columns; i++) {
            float *w = (float *)parts[part]->weight.data + i;
            *w = (float)(round_to_e4m3(*w / (amax / 448.0)) * (amax / 448.0));
        }
}

/* Rounds in place what the encoder keeps as codes. */
static void round_model(struct random_model *random)
{
    const uint32_t n_layers = random->model.config.n_layers;
    for (uint32_t i = 0; i < n_layers; i++) {
        const struct model_layer *l = &random->model.weights.layers[i];
        const bool last = i + 1 == n_layers;
        const struct model_linear *const qkv[] = {&l->query, &l->key, &l->value};
        const struct model_linear *const rest[] = {&l->attention_output, &l->ffn_in, &l->ffn_out};
        round_weights(last ? qkv + 1 : qkv, last ? 2 : 3);
        for (uint32_t p = 0; !last && p < ARRAY_COUNT(rest); p++)
            round_weights(&rest[p], 1);
    }
}

/* For each text, by plain loops. `twin` NULL: without any rounding. */
static void reference(const struct random_model *random, const struct random_texts *texts,
                      struct twin *twin, double *logits)
{
    const struct reference_watch watch = {watch_input, twin};
    for (uint32_t s = 0; s < texts->batch.n_sequences; s++) {
        const uint32_t first = texts->cu_seqlens[s];
        reference_logits_watched(&random->model, texts->input_ids + first,
                                 texts->cu_seqlens[s + 1] - first, texts->type_starts[s],
                                 logits + s * random->model.config.n_labels,
                                 twin != NULL ? &watch : NULL);
    }
}

/* ---- encoders ---- */

/* Products whose inputs differ in range, so that one's scale would not do for another. */
static void make_model(struct random_model *random, const struct model_config *config)
{
    random_model_make(random, config, 5);
    strcpy(random->model.fingerprint, FINGERPRINT);
    for (uint32_t i = 0; i < config->n_layers; i++) {
        const struct model_layer *l = &random->model.weights.layers[i];
        for (uint32_t w = 0; w < config->hidden_dim * config->hidden_dim; w++)
            ((float *)l->value.weight.data)[w] *= 0.25f;
        for (uint32_t w = 0; w < config->hidden_dim * config->ffn_dim; w++)
            ((float *)l->ffn_in.weight.data)[w] *= 3.0f;
    }
}

static struct encoder *create(const struct random_model *random, enum encoder_dtype dtype,
                              char error[ERROR_BYTES])
{
    const struct encoder_options options = {
        .dtype = dtype, .max_batch_tokens = TOKENS_MAX, .max_batch_sequences = 8};
    return encoder_cuda.create(&random->model, &options, error);
}

static struct encoder *open_encoder(const struct random_model *random, enum encoder_dtype dtype)
{
    char error[ERROR_BYTES] = "";
    struct encoder *encoder = create(random, dtype, error);
    if (encoder == NULL)
        fprintf(stderr, "%s\n", error);
    EXPECT(encoder != NULL);
    return encoder;
}

static void close_encoder(struct encoder *encoder)
{
    encoder_cuda.destroy(encoder);
    EXPECT_EQUAL(standin_counters().live_objects, 0);
}

/* Serves the texts as a float model, which leaves a calibration behind. */
static void calibrate(const struct random_model *random, const struct random_texts *texts,
                      enum encoder_dtype dtype)
{
    float logits[ARRAY_COUNT(LENGTHS) * LABELS_MAX];
    unlink(calibration_path);
    setenv("WEIR_CUDA_CALIBRATE_FILE", calibration_path, 1);
    struct encoder *encoder = open_encoder(random, dtype);
    unsetenv("WEIR_CUDA_CALIBRATE_FILE");
    EXPECT_EQUAL(encoder_cuda.forward(encoder, &texts->batch, logits), 0);
    close_encoder(encoder);
}

/* What differs most, as a share of the logits' spread. */
static double largest_error(const float *logits, const double *expected, uint32_t n)
{
    double largest = 0.0, squares = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        const double error = fabs(logits[i] - expected[i]);
        largest = error <= largest ? largest : error;
        squares += expected[i] * expected[i];
        EXPECT(isfinite(logits[i]));
    }
    return largest / sqrt(squares / n);
}

/* ---- tests ---- */

static void check_recording(const struct model_config *config, enum encoder_dtype dtype,
                            double tolerance)
{
    struct model_calibration seen = {0}, expected = {0};
    struct random_model random;
    struct random_texts texts;
    double logits[ARRAY_COUNT(LENGTHS) * LABELS_MAX];
    char error[ERROR_BYTES] = "";
    make_model(&random, config);
    random_texts_make(&texts, &random.model.config, LENGTHS, ARRAY_COUNT(LENGTHS), 9);
    calibrate(&random, &texts, dtype);
    EXPECT_EQUAL(model_calibration_read(&seen, calibration_path, &random.model, error), 0);
    EXPECT_EQUAL(seen.n_texts, ARRAY_COUNT(LENGTHS));
    struct twin twin = {RECORDS, &random.model, &expected};
    reference(&random, &texts, &twin, logits);
    for (uint32_t layer = 0; layer < config->n_layers; layer++)
        for (uint32_t i = 0; i < MODEL_PRODUCT_COUNT; i++) {
            const double difference = fabs(seen.amax[layer][i] - expected.amax[layer][i]);
            EXPECT(difference <= tolerance * expected.amax[layer][i]);
        }
    random_model_free(&random);
}

static void a_calibration_holds_what_plain_loops_see(void)
{
    struct model_config relu = RANDOM_MODEL_DISTILBERT;
    relu.activation = MODEL_RELU;
    check_recording(&RANDOM_MODEL_DISTILBERT, ENCODER_DTYPE_FLOAT32, 1e-5);
    if (BY_SANITIZER(false, true, true))
        return;
    check_recording(&RANDOM_MODEL_DISTILBERT, ENCODER_DTYPE_FLOAT16, 1e-2);
    check_recording(&RANDOM_MODEL_BERT, ENCODER_DTYPE_FLOAT16, 1e-2);
    check_recording(&RANDOM_MODEL_BERT, ENCODER_DTYPE_BFLOAT16, 4e-2);
    check_recording(&relu, ENCODER_DTYPE_FLOAT32, 1e-5);
}

/* With the GELU in its epilogue our GEMM would hide what the FFN's second product reads. */
static void our_own_gemms_hide_nothing_from_a_calibration(void)
{
    setenv("WEIR_CUDA_FFN", "own", 1);
    check_recording(&RANDOM_MODEL_DISTILBERT, ENCODER_DTYPE_FLOAT16, 1e-2);
    unsetenv("WEIR_CUDA_FFN");
    setenv("WEIR_CUDA_GEMM", "own", 1);
    check_recording(&RANDOM_MODEL_DISTILBERT, ENCODER_DTYPE_FLOAT16, 1e-2);
    unsetenv("WEIR_CUDA_GEMM");
}

/* An input that lies between two codes may come out as the one here and as the other in the twin,
 * whose sums are in double: so the two are not equal, and the more layers the less.
 *
 * `cut` shrinks the calibrated ranges: what lies beyond is cut off, by the encoder and by the twin
 * alike, so that a scale in a wrong place shows. */
static void check_logits(const struct model_config *config, float cut, double tolerance,
                         double rounding_least, double rounding_most)
{
    struct model_calibration calibration = {0};
    struct random_model random, rounded;
    struct random_texts texts;
    double exact[ARRAY_COUNT(LENGTHS) * LABELS_MAX], expected[ARRAY_COUNT(LENGTHS) * LABELS_MAX];
    float logits[ARRAY_COUNT(LENGTHS) * LABELS_MAX];
    const uint32_t n = ARRAY_COUNT(LENGTHS) * config->n_labels;
    char error[ERROR_BYTES] = "";
    make_model(&random, config);
    make_model(&rounded, config);
    round_model(&rounded);
    random_texts_make(&texts, &random.model.config, LENGTHS, ARRAY_COUNT(LENGTHS), 9);
    struct twin twin = {RECORDS, &random.model, &calibration};
    reference(&random, &texts, &twin, exact);
    for (uint32_t i = 0; i < MODEL_LAYERS_MAX; i++)
        for (uint32_t p = 0; p < MODEL_PRODUCT_COUNT; p++)
            calibration.amax[i][p] *= cut;
    EXPECT_EQUAL(
        model_calibration_write(&calibration, calibration_path, config, FINGERPRINT, error), 0);
    twin = (struct twin){ROUNDS, &rounded.model, &calibration};
    reference(&rounded, &texts, &twin, expected);
    struct encoder *encoder = open_encoder(&random, ENCODER_DTYPE_FP8);
    EXPECT(strstr(encoder_cuda.describe(encoder), "fp8") != NULL);
    EXPECT_EQUAL(encoder->trials.n_tiles, 4); /* two types, two widths: each has its inputs */
    EXPECT_EQUAL(encoder_cuda.forward(encoder, &texts.batch, logits), 0);
    close_encoder(encoder);
    const double to_exact = largest_error(logits, exact, n);
    EXPECT(largest_error(logits, expected, n) < tolerance);
    EXPECT(to_exact >= rounding_least && to_exact < rounding_most);
    random_model_free(&random);
    random_model_free(&rounded);
}

static void logits_are_those_of_a_twin_that_rounds_to_the_same_codes(void)
{
    struct model_config relu = RANDOM_MODEL_DISTILBERT, shallow = RANDOM_MODEL_DISTILBERT;
    relu.activation = MODEL_RELU;
    shallow.n_layers = 1;
    check_logits(&RANDOM_MODEL_DISTILBERT, 1.0f, 0.15, 0.01, 0.4);
    if (BY_SANITIZER(false, true, true))
        return;
    check_logits(&RANDOM_MODEL_BERT, 1.0f, 0.1, 0.01, 0.4);
    check_logits(&relu, 1.0f, 0.2, 0.01, 0.4);
    check_logits(&shallow, 1.0f, 0.01, 0.005, 0.1);
}

static void logits_are_the_twins_where_ranges_are_cut_off(void)
{
    if (BY_SANITIZER(true, false, false))
        check_logits(&RANDOM_MODEL_DISTILBERT, 0.1f, 0.08, 0.5, 10.0);
    check_logits(&RANDOM_MODEL_BERT, 0.1f, 0.08, 0.5, 10.0);
}

/* The largest lies behind what passes the buffer in one go. */
static void a_large_matrix_is_searched_to_its_end(void)
{
    const struct encoder_options options = {
        .dtype = ENCODER_DTYPE_FP8, .max_batch_tokens = 16, .max_batch_sequences = 2};
    struct model_config config = RANDOM_MODEL_SMALL;
    struct model_calibration calibration = {.n_texts = 1};
    struct random_model random;
    char error[ERROR_BYTES] = "";
    config.n_layers = 2;
    config.ffn_dim = (4u << 20) / (config.hidden_dim * sizeof(float)) + 16;
    for (uint32_t i = 0; i < MODEL_LAYERS_MAX; i++)
        for (uint32_t p = 0; p < MODEL_PRODUCT_COUNT; p++)
            calibration.amax[i][p] = 1.0f;
    make_model(&random, &config);
    const struct model_tensor *weight = &random.model.weights.layers[0].ffn_in.weight;
    ((float *)weight->data)[(uint64_t)weight->rows * weight->columns - 1] = -224.0f;
    EXPECT_EQUAL(
        model_calibration_write(&calibration, calibration_path, &config, FINGERPRINT, error), 0);
    struct encoder *encoder = encoder_cuda.create(&random.model, &options, error);
    EXPECT(encoder != NULL && encoder->fp8->scales[0][MODEL_PRODUCT_FFN_IN].weight == 0.5f);
    close_encoder(encoder);
    random_model_free(&random);
}

/* A scale of 0 would make its codes, and all that is computed from them, NaN. */
static void a_matrix_of_zeros_has_a_scale(void)
{
    struct model_calibration calibration = {.n_texts = 1};
    struct random_model random;
    struct random_texts texts;
    float logits[ARRAY_COUNT(LENGTHS) * LABELS_MAX];
    char error[ERROR_BYTES] = "";
    for (uint32_t i = 0; i < MODEL_LAYERS_MAX; i++)
        for (uint32_t p = 0; p < MODEL_PRODUCT_COUNT; p++)
            calibration.amax[i][p] = 1.0f;
    make_model(&random, &RANDOM_MODEL_DISTILBERT);
    random_texts_make(&texts, &random.model.config, LENGTHS, ARRAY_COUNT(LENGTHS), 9);
    const struct model_tensor *weight = &random.model.weights.layers[0].attention_output.weight;
    memset((float *)weight->data, 0, (uint64_t)weight->rows * weight->columns * sizeof(float));
    EXPECT_EQUAL(model_calibration_write(&calibration, calibration_path, &random.model.config,
                                         FINGERPRINT, error),
                 0);
    EXPECT(cuda_fp8_scale(0.0f) == 1.0f && cuda_fp8_scale(224.0f) == 0.5f);
    struct encoder *encoder = open_encoder(&random, ENCODER_DTYPE_FP8);
    EXPECT(encoder->fp8->scales[0][MODEL_PRODUCT_ATTENTION_OUTPUT].weight == 1.0f);
    EXPECT_EQUAL(encoder_cuda.forward(encoder, &texts.batch, logits), 0);
    for (uint32_t i = 0; i < ARRAY_COUNT(LENGTHS) * random.model.config.n_labels; i++)
        EXPECT(isfinite(logits[i]));
    close_encoder(encoder);
    random_model_free(&random);
}

/* Nor by an encoder that failed, whose card may hang: its end waits for nothing. */
static void no_calibration_is_written_of_no_text(void)
{
    struct random_model random;
    struct random_texts texts;
    float logits[ARRAY_COUNT(LENGTHS) * LABELS_MAX];
    make_model(&random, &RANDOM_MODEL_DISTILBERT);
    random_texts_make(&texts, &random.model.config, LENGTHS, ARRAY_COUNT(LENGTHS), 9);
    unlink(calibration_path);
    setenv("WEIR_CUDA_CALIBRATE_FILE", calibration_path, 1);
    close_encoder(open_encoder(&random, ENCODER_DTYPE_FLOAT16));
    EXPECT(access(calibration_path, F_OK) != 0);
    struct encoder *encoder = open_encoder(&random, ENCODER_DTYPE_FLOAT16);
    cuda_graphs_wait(&encoder->graphs);
    EXPECT_EQUAL(encoder_cuda.forward(encoder, &texts.batch, logits), 0);
    memset(encoder->graphs.body_is_given_up, true, sizeof encoder->graphs.body_is_given_up);
    standin_fail_call(1);
    EXPECT_EQUAL(encoder_cuda.forward(encoder, &texts.batch, logits), -EIO);
    close_encoder(encoder);
    EXPECT(access(calibration_path, F_OK) != 0);
    unsetenv("WEIR_CUDA_CALIBRATE_FILE");
    random_model_free(&random);
}

/* Else a float16 server's file would serve, with algorithms for other types. */
static void a_tune_file_is_of_fp8_alone(void)
{
    const struct encoder_options options = {
        .dtype = ENCODER_DTYPE_FP8, .max_batch_tokens = 16, .max_batch_sequences = 2};
    char error[ERROR_BYTES] = "";
    struct random_model random;
    struct random_texts texts;
    char path[80];
    struct cuda_tune_header header;
    make_model(&random, &RANDOM_MODEL_DISTILBERT);
    random_texts_make(&texts, &random.model.config, LENGTHS, ARRAY_COUNT(LENGTHS), 9);
    calibrate(&random, &texts, ENCODER_DTYPE_FLOAT16);
    snprintf(path, sizeof path, "%s.tune", calibration_path);
    setenv("WEIR_CUDA_TUNE_FILE", path, 1);
    struct encoder *encoder = encoder_cuda.create(&random.model, &options, error);
    EXPECT(encoder != NULL);
    close_encoder(encoder);
    unsetenv("WEIR_CUDA_TUNE_FILE");
    FILE *file = fopen(path, "rb");
    EXPECT(file != NULL && fread(&header, sizeof header, 1, file) == 1);
    fclose(file);
    unlink(path);
    EXPECT_EQUAL(header.key.element_type, CUDA_R_8F_E4M3);
    random_model_free(&random);
}

static void same_text_same_bits_whatever_shares_its_batch(void)
{
    struct random_model random;
    struct random_texts texts;
    float together[ARRAY_COUNT(LENGTHS) * LABELS_MAX], alone[LABELS_MAX];
    make_model(&random, &RANDOM_MODEL_DISTILBERT);
    random_texts_make(&texts, &random.model.config, LENGTHS, ARRAY_COUNT(LENGTHS), 9);
    calibrate(&random, &texts, ENCODER_DTYPE_FLOAT16);
    struct encoder *encoder = open_encoder(&random, ENCODER_DTYPE_FP8);
    EXPECT_EQUAL(encoder_cuda.forward(encoder, &texts.batch, together), 0);
    for (uint32_t s = 0; s < ARRAY_COUNT(LENGTHS); s++) {
        const uint32_t cu_seqlens[] = {0, LENGTHS[s]};
        const struct batch one = {texts.input_ids + texts.cu_seqlens[s], cu_seqlens,
                                  texts.type_starts + s, 1, LENGTHS[s]};
        EXPECT_EQUAL(encoder_cuda.forward(encoder, &one, alone), 0);
        EXPECT(memcmp(alone, together + s * RANDOM_MODEL_DISTILBERT.n_labels, 2 * sizeof(float)) ==
               0);
    }
    close_encoder(encoder);
    random_model_free(&random);
}

static void expect_refusal(const struct random_model *random, const char *words)
{
    char error[ERROR_BYTES] = "";
    EXPECT(create(random, ENCODER_DTYPE_FP8, error) == NULL);
    if (strstr(error, words) == NULL)
        fprintf(stderr, "\"%s\" does not say \"%s\"\n", error, words);
    EXPECT(strstr(error, words) != NULL);
    EXPECT_EQUAL(standin_counters().live_objects, 0);
    standin_reset();
}

static void what_fp8_cannot_do_is_refused_in_a_sentence(void)
{
    struct model_config odd = RANDOM_MODEL_DISTILBERT;
    struct random_model random;
    struct random_texts texts;
    make_model(&random, &RANDOM_MODEL_DISTILBERT);
    random_texts_make(&texts, &random.model.config, LENGTHS, ARRAY_COUNT(LENGTHS), 9);
    calibrate(&random, &texts, ENCODER_DTYPE_FLOAT16);
    standin_set_device(1, 8, 6, 40);
    expect_refusal(&random, "compute capability 8.6, --dtype fp8 needs 8.9 or newer");
    standin_set_device(1, 8, 9, 58);
    close_encoder(open_encoder(&random, ENCODER_DTYPE_FP8));
    setenv("WEIR_CUDA_GEMM", "own", 1);
    expect_refusal(&random, "WEIR_CUDA_GEMM=own needs --dtype float16 or bfloat16");
    unsetenv("WEIR_CUDA_GEMM");
    standin_set_device(1, 8, 9, 58);
    random.model.fingerprint[0] = 'f';
    expect_refusal(&random, "belongs to another model");
    random.model.fingerprint[0] = FINGERPRINT[0];
    ((float *)random.model.weights.layers[1].ffn_out.weight.data)[70] = NAN;
    expect_refusal(&random, "fp8 has no scale for it");
    unsetenv("WEIR_CUDA_FP8_FILE");
    expect_refusal(&random, "run scripts/calibrate and name the file it makes");
    setenv("WEIR_CUDA_FP8_FILE", "", 1); /* as good as none */
    expect_refusal(&random, "run scripts/calibrate and name the file it makes");
    setenv("WEIR_CUDA_FP8_FILE", calibration_path, 1);
    unlink(calibration_path);
    expect_refusal(&random, "cannot be read: No such file");
    random_model_free(&random);
    odd.ffn_dim = 136;
    make_model(&random, &odd);
    expect_refusal(&random, "multiples of 16");
    random_model_free(&random);
    odd = RANDOM_MODEL_DISTILBERT;
    odd.hidden_dim = 72;
    odd.n_heads = 9;
    make_model(&random, &odd);
    expect_refusal(&random, "multiples of 16");
    random_model_free(&random);
}

/* A failed start leaves nothing behind, and no calibration of no text. */
static void any_call_may_fail_and_nothing_leaks(void)
{
    struct model_config config = RANDOM_MODEL_SMALL;
    struct random_model random;
    struct random_texts texts;
    make_model(&random, &RANDOM_MODEL_DISTILBERT);
    random_texts_make(&texts, &random.model.config, LENGTHS, ARRAY_COUNT(LENGTHS), 9);
    calibrate(&random, &texts, ENCODER_DTYPE_FLOAT16);
    random_model_free(&random);
    config.n_layers = RANDOM_MODEL_DISTILBERT.n_layers; /* the calibration's rows will do */
    make_model(&random, &config);
    for (enum encoder_dtype dtype = ENCODER_DTYPE_FLOAT16; dtype != ENCODER_DTYPE_AUTO;
         dtype = dtype == ENCODER_DTYPE_FLOAT16 ? ENCODER_DTYPE_FP8 : ENCODER_DTYPE_AUTO) {
        char path[80];
        snprintf(path, sizeof path, "%s.none", calibration_path);
        if (dtype == ENCODER_DTYPE_FLOAT16)
            setenv("WEIR_CUDA_CALIBRATE_FILE", path, 1);
        for (uint64_t n = 1; n < CALLS_MAX;
             n += n < 60 ? BY_SANITIZER(1, 7, 7) : BY_SANITIZER(37, 97, 97)) {
            const struct encoder_options options = {
                .dtype = dtype, .max_batch_tokens = 16, .max_batch_sequences = 2};
            char error[ERROR_BYTES] = "";
            standin_fail_call(n);
            struct encoder *encoder = encoder_cuda.create(&random.model, &options, error);
            const bool failed = encoder == NULL;
            EXPECT(!failed || error[0] != 0);
            encoder_cuda.destroy(encoder);
            EXPECT_EQUAL(standin_counters().live_objects, 0);
            standin_reset();
            EXPECT(access(path, F_OK) != 0);
            if (!failed && n > 300)
                break;
        }
        unsetenv("WEIR_CUDA_CALIBRATE_FILE");
    }
    random_model_free(&random);
}

int main(void)
{
    snprintf(calibration_path, sizeof calibration_path, "/tmp/weir-fp8-%d.json", getpid());
    setenv("WEIR_CUDA_FP8_FILE", calibration_path, 1);
    RUN(a_calibration_holds_what_plain_loops_see);
    RUN(logits_are_those_of_a_twin_that_rounds_to_the_same_codes);
    RUN(logits_are_the_twins_where_ranges_are_cut_off);
    RUN(a_matrix_of_zeros_has_a_scale);
    RUN(no_calibration_is_written_of_no_text);
    RUN(what_fp8_cannot_do_is_refused_in_a_sentence);
    RUN(any_call_may_fail_and_nothing_leaks);
    if (BY_SANITIZER(true, false, false)) { /* more of the same code */
        RUN(a_large_matrix_is_searched_to_its_end);
        RUN(our_own_gemms_hide_nothing_from_a_calibration);
        RUN(a_tune_file_is_of_fp8_alone);
        RUN(same_text_same_bits_whatever_shares_its_batch);
    }
    unlink(calibration_path);
    return 0;
}
