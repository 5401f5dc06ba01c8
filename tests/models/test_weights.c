/* models/weights.c: each tensor in its role, and a sentence for each way in which it cannot be. */
#include "models/weights.h"

#include "models/config.h"
#include "tests/models/tiny_folder.h"
#include "tests/test.h"

#include <errno.h>

/* A tiny checkpoint, indexed, and the config that belongs to it. */
struct checkpoint {
    struct tiny_bytes file;
    struct safetensors index;
    struct model_config config;
    void *strings;
};

static void open_checkpoint(struct checkpoint *checkpoint, enum model_architecture architecture,
                            enum model_dtype dtype, bool old_names)
{
    const char *config = tiny_config(architecture);
    char error[ERROR_BYTES] = "";

    checkpoint->file = tiny_weights(architecture, dtype, old_names);
    EXPECT_EQUAL(safetensors_parse(&checkpoint->index, checkpoint->file.bytes,
                                   checkpoint->file.size_bytes, error),
                 0);
    EXPECT_EQUAL(
        config_parse(config, strlen(config), &checkpoint->config, &checkpoint->strings, error), 0);
}

static void close_checkpoint(struct checkpoint *checkpoint)
{
    safetensors_close(&checkpoint->index);
    free(checkpoint->strings);
    free(checkpoint->file.bytes);
}

static void expect_tensor(const struct checkpoint *checkpoint, const struct model_tensor *tensor,
                          const char *name, uint32_t rows, uint32_t columns)
{
    const struct safetensors_tensor *stored = safetensors_find(&checkpoint->index, name);

    EXPECT(stored);
    EXPECT(tensor->data == checkpoint->file.bytes + checkpoint->index.data_offset + stored->begin);
    EXPECT_EQUAL(tensor->rows, rows);
    EXPECT_EQUAL(tensor->columns, columns);
}

static void every_role_of_a_distilbert_has_its_tensor(void)
{
#define LAYER "distilbert.transformer.layer.1."
    static struct model_weights weights;
    const struct model_layer *layer = &weights.layers[1];
    struct checkpoint c;
    char error[ERROR_BYTES] = "";

    open_checkpoint(&c, MODEL_DISTILBERT, MODEL_FLOAT32, false);
    EXPECT_EQUAL(weights_find(&c.index, &c.config, &weights, error), 0);
    expect_tensor(&c, &weights.word_embeddings, "distilbert.embeddings.word_embeddings.weight", 10,
                  4);
    expect_tensor(&c, &weights.position_embeddings,
                  "distilbert.embeddings.position_embeddings.weight", 8, 4);
    expect_tensor(&c, &weights.embeddings_norm.weight, "distilbert.embeddings.LayerNorm.weight", 1,
                  4);
    expect_tensor(&c, &weights.embeddings_norm.bias, "distilbert.embeddings.LayerNorm.bias", 1, 4);
    EXPECT(!weights.type_embeddings.data);
    expect_tensor(&c, &layer->query.weight, LAYER "attention.q_lin.weight", 4, 4);
    expect_tensor(&c, &layer->query.bias, LAYER "attention.q_lin.bias", 1, 4);
    expect_tensor(&c, &layer->key.weight, LAYER "attention.k_lin.weight", 4, 4);
    expect_tensor(&c, &layer->value.bias, LAYER "attention.v_lin.bias", 1, 4);
    expect_tensor(&c, &layer->attention_output.weight, LAYER "attention.out_lin.weight", 4, 4);
    expect_tensor(&c, &layer->attention_norm.bias, LAYER "sa_layer_norm.bias", 1, 4);
    expect_tensor(&c, &layer->ffn_in.weight, LAYER "ffn.lin1.weight", 6, 4);
    expect_tensor(&c, &layer->ffn_in.bias, LAYER "ffn.lin1.bias", 1, 6);
    expect_tensor(&c, &layer->ffn_out.weight, LAYER "ffn.lin2.weight", 4, 6);
    expect_tensor(&c, &layer->output_norm.weight, LAYER "output_layer_norm.weight", 1, 4);
    expect_tensor(&c, &weights.layers[0].key.weight,
                  "distilbert.transformer.layer.0.attention.k_lin.weight", 4, 4);
    expect_tensor(&c, &weights.pooler.weight, "pre_classifier.weight", 4, 4);
    expect_tensor(&c, &weights.classifier.weight, "classifier.weight", 3, 4);
    expect_tensor(&c, &weights.classifier.bias, "classifier.bias", 1, 3);
    EXPECT(!weights.layers[2].query.weight.data);
    close_checkpoint(&c);
#undef LAYER
}

static void every_role_of_a_bert_has_its_tensor(void)
{
#define LAYER "bert.encoder.layer.0."
    static struct model_weights weights;
    const struct model_layer *layer = &weights.layers[0];
    struct checkpoint c;
    char error[ERROR_BYTES] = "";

    open_checkpoint(&c, MODEL_BERT, MODEL_BFLOAT16, false);
    EXPECT_EQUAL(weights_find(&c.index, &c.config, &weights, error), 0);
    expect_tensor(&c, &weights.word_embeddings, "bert.embeddings.word_embeddings.weight", 10, 4);
    expect_tensor(&c, &weights.type_embeddings, "bert.embeddings.token_type_embeddings.weight", 2,
                  4);
    expect_tensor(&c, &layer->query.weight, LAYER "attention.self.query.weight", 4, 4);
    expect_tensor(&c, &layer->key.bias, LAYER "attention.self.key.bias", 1, 4);
    expect_tensor(&c, &layer->value.weight, LAYER "attention.self.value.weight", 4, 4);
    expect_tensor(&c, &layer->attention_output.weight, LAYER "attention.output.dense.weight", 4, 4);
    expect_tensor(&c, &layer->attention_norm.weight, LAYER "attention.output.LayerNorm.weight", 1,
                  4);
    expect_tensor(&c, &layer->ffn_in.weight, LAYER "intermediate.dense.weight", 6, 4);
    expect_tensor(&c, &layer->ffn_out.weight, LAYER "output.dense.weight", 4, 6);
    expect_tensor(&c, &layer->output_norm.bias, LAYER "output.LayerNorm.bias", 1, 4);
    expect_tensor(&c, &weights.pooler.bias, "bert.pooler.dense.bias", 1, 4);
    EXPECT_EQUAL(weights.classifier.weight.dtype, MODEL_BFLOAT16);
    close_checkpoint(&c);
#undef LAYER
}

static void norms_are_found_by_their_old_names_too(void)
{
    static struct model_weights weights;
    struct checkpoint c;
    char error[ERROR_BYTES] = "";

    open_checkpoint(&c, MODEL_BERT, MODEL_FLOAT32, true);
    EXPECT_EQUAL(weights_find(&c.index, &c.config, &weights, error), 0);
    expect_tensor(&c, &weights.embeddings_norm.weight, "bert.embeddings.LayerNorm.gamma", 1, 4);
    expect_tensor(&c, &weights.layers[1].output_norm.bias,
                  "bert.encoder.layer.1.output.LayerNorm.beta", 1, 4);
    close_checkpoint(&c);
}

/* Expects a refusal of the checkpoint as it is now, and closes it. */
static void expect_refused(struct checkpoint *c, const char *sentence)
{
    static struct model_weights weights;
    char error[ERROR_BYTES] = "";

    EXPECT_EQUAL(weights_find(&c->index, &c->config, &weights, error), -EINVAL);
    EXPECT_STRING(error, sentence);
    close_checkpoint(c);
}

static void a_missing_tensor_is_named(void)
{
    struct checkpoint c;

    open_checkpoint(&c, MODEL_DISTILBERT, MODEL_FLOAT32, false);
    c.config.n_layers = TINY_LAYERS + 1;
    expect_refused(&c, "model.safetensors: no tensor "
                       "distilbert.transformer.layer.2.attention.q_lin.weight: the checkpoint is "
                       "not that of a distilbert sequence classifier");
    open_checkpoint(&c, MODEL_BERT, MODEL_FLOAT32, false);
    c.config.architecture = MODEL_DISTILBERT;
    expect_refused(&c, "model.safetensors: no tensor distilbert.embeddings.word_embeddings.weight: "
                       "the checkpoint is not that of a bert sequence classifier");
}

static void a_shape_that_the_config_contradicts_is_named(void)
{
    struct checkpoint c;

    open_checkpoint(&c, MODEL_DISTILBERT, MODEL_FLOAT32, false);
    c.config.n_labels = 2;
    expect_refused(&c,
                   "model.safetensors: classifier.weight has shape [3, 4]; config.json makes it "
                   "[2, 4]");
    open_checkpoint(&c, MODEL_DISTILBERT, MODEL_FLOAT32, false);
    c.config.vocab_size++;
    expect_refused(&c, "model.safetensors: distilbert.embeddings.word_embeddings.weight has shape "
                       "[10, 4]; config.json makes it [11, 4]");
}

static void a_vector_is_no_matrix_and_a_matrix_no_vector(void)
{
    struct checkpoint c;
    struct safetensors_tensor *tensor;

    open_checkpoint(&c, MODEL_DISTILBERT, MODEL_FLOAT32, false);
    tensor = (struct safetensors_tensor *)safetensors_find(&c.index, "classifier.bias");
    tensor->rank = 2;
    tensor->shape[1] = 1;
    expect_refused(&c, "model.safetensors: classifier.bias has shape [3, 1]; config.json makes it "
                       "[3]");
    open_checkpoint(&c, MODEL_DISTILBERT, MODEL_FLOAT32, false);
    tensor = (struct safetensors_tensor *)safetensors_find(&c.index, "pre_classifier.weight");
    tensor->rank = 1;
    tensor->shape[0] = 16;
    expect_refused(&c, "model.safetensors: pre_classifier.weight has shape [16]; config.json makes "
                       "it [4, 4]");
}

static void a_type_that_is_no_narrow_float_is_named(void)
{
    struct checkpoint c;

    open_checkpoint(&c, MODEL_DISTILBERT, MODEL_FLOAT32, false);
    ((struct safetensors_tensor *)safetensors_find(&c.index, "pre_classifier.bias"))->dtype =
        SAFETENSORS_F8_E4M3;
    expect_refused(&c, "model.safetensors: pre_classifier.bias is F8_E4M3; weir reads F32, F16 and "
                       "BF16");
}

int main(void)
{
    RUN(every_role_of_a_distilbert_has_its_tensor);
    RUN(every_role_of_a_bert_has_its_tensor);
    RUN(norms_are_found_by_their_old_names_too);
    RUN(a_missing_tensor_is_named);
    RUN(a_shape_that_the_config_contradicts_is_named);
    RUN(a_vector_is_no_matrix_and_a_matrix_no_vector);
    RUN(a_type_that_is_no_narrow_float_is_named);
    return 0;
}
