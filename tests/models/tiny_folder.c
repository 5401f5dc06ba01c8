/* The shapes and names stand here once more, spelled out as a checkpoint has them, so that a slip
 * in models/weights.c does not hide behind itself. */
#include "tests/models/tiny_folder.h"

#include "tests/test.h"

#include <ftw.h>
#include <jansson.h>

#define HEADER_BYTES_MAX 65536
#define DATA_BYTES_MAX   65536

struct shape {
    const char *name;  /* "@" ends the names of a norm: weight or gamma, bias or beta */
    int rows, columns; /* rows 0: a vector */
};

static const struct shape distilbert_shapes[] = {
    {"distilbert.embeddings.word_embeddings.weight", TINY_VOCAB, TINY_DIM},
    {"distilbert.embeddings.position_embeddings.weight", TINY_POSITIONS, TINY_DIM},
    {"distilbert.embeddings.LayerNorm.@weight", 0, TINY_DIM},
    {"distilbert.embeddings.LayerNorm.@bias", 0, TINY_DIM},
    {"distilbert.transformer.layer.#.attention.q_lin.weight", TINY_DIM, TINY_DIM},
    {"distilbert.transformer.layer.#.attention.q_lin.bias", 0, TINY_DIM},
    {"distilbert.transformer.layer.#.attention.k_lin.weight", TINY_DIM, TINY_DIM},
    {"distilbert.transformer.layer.#.attention.k_lin.bias", 0, TINY_DIM},
    {"distilbert.transformer.layer.#.attention.v_lin.weight", TINY_DIM, TINY_DIM},
    {"distilbert.transformer.layer.#.attention.v_lin.bias", 0, TINY_DIM},
    {"distilbert.transformer.layer.#.attention.out_lin.weight", TINY_DIM, TINY_DIM},
    {"distilbert.transformer.layer.#.attention.out_lin.bias", 0, TINY_DIM},
    {"distilbert.transformer.layer.#.sa_layer_norm.@weight", 0, TINY_DIM},
    {"distilbert.transformer.layer.#.sa_layer_norm.@bias", 0, TINY_DIM},
    {"distilbert.transformer.layer.#.ffn.lin1.weight", TINY_FFN, TINY_DIM},
    {"distilbert.transformer.layer.#.ffn.lin1.bias", 0, TINY_FFN},
    {"distilbert.transformer.layer.#.ffn.lin2.weight", TINY_DIM, TINY_FFN},
    {"distilbert.transformer.layer.#.ffn.lin2.bias", 0, TINY_DIM},
    {"distilbert.transformer.layer.#.output_layer_norm.@weight", 0, TINY_DIM},
    {"distilbert.transformer.layer.#.output_layer_norm.@bias", 0, TINY_DIM},
    {"pre_classifier.weight", TINY_DIM, TINY_DIM},
    {"pre_classifier.bias", 0, TINY_DIM},
    {"classifier.weight", TINY_LABELS, TINY_DIM},
    {"classifier.bias", 0, TINY_LABELS},
};

static const struct shape bert_shapes[] = {
    {"bert.embeddings.word_embeddings.weight", TINY_VOCAB, TINY_DIM},
    {"bert.embeddings.position_embeddings.weight", TINY_POSITIONS, TINY_DIM},
    {"bert.embeddings.token_type_embeddings.weight", TINY_TYPES, TINY_DIM},
    {"bert.embeddings.LayerNorm.@weight", 0, TINY_DIM},
    {"bert.embeddings.LayerNorm.@bias", 0, TINY_DIM},
    {"bert.encoder.layer.#.attention.self.query.weight", TINY_DIM, TINY_DIM},
    {"bert.encoder.layer.#.attention.self.query.bias", 0, TINY_DIM},
    {"bert.encoder.layer.#.attention.self.key.weight", TINY_DIM, TINY_DIM},
    {"bert.encoder.layer.#.attention.self.key.bias", 0, TINY_DIM},
    {"bert.encoder.layer.#.attention.self.value.weight", TINY_DIM, TINY_DIM},
    {"bert.encoder.layer.#.attention.self.value.bias", 0, TINY_DIM},
    {"bert.encoder.layer.#.attention.output.dense.weight", TINY_DIM, TINY_DIM},
    {"bert.encoder.layer.#.attention.output.dense.bias", 0, TINY_DIM},
    {"bert.encoder.layer.#.attention.output.LayerNorm.@weight", 0, TINY_DIM},
    {"bert.encoder.layer.#.attention.output.LayerNorm.@bias", 0, TINY_DIM},
    {"bert.encoder.layer.#.intermediate.dense.weight", TINY_FFN, TINY_DIM},
    {"bert.encoder.layer.#.intermediate.dense.bias", 0, TINY_FFN},
    {"bert.encoder.layer.#.output.dense.weight", TINY_DIM, TINY_FFN},
    {"bert.encoder.layer.#.output.dense.bias", 0, TINY_DIM},
    {"bert.encoder.layer.#.output.LayerNorm.@weight", 0, TINY_DIM},
    {"bert.encoder.layer.#.output.LayerNorm.@bias", 0, TINY_DIM},
    {"bert.pooler.dense.weight", TINY_DIM, TINY_DIM},
    {"bert.pooler.dense.bias", 0, TINY_DIM},
    {"classifier.weight", TINY_LABELS, TINY_DIM},
    {"classifier.bias", 0, TINY_LABELS},
};

const char *tiny_config(enum model_architecture architecture)
{
    if (architecture == MODEL_DISTILBERT)
        return "{\"architectures\": [\"DistilBertForSequenceClassification\"],"
               " \"model_type\": \"distilbert\", \"activation\": \"gelu\", \"dim\": 4,"
               " \"hidden_dim\": 6, \"n_heads\": 2, \"n_layers\": 2, \"vocab_size\": 10,"
               " \"max_position_embeddings\": 8,"
               " \"id2label\": {\"0\": \"bad\", \"1\": \"so-so\", \"2\": \"good\"}}";
    return "{\"architectures\": [\"BertForSequenceClassification\"], \"model_type\": \"bert\","
           " \"hidden_act\": \"relu\", \"hidden_size\": 4, \"intermediate_size\": 6,"
           " \"num_attention_heads\": 2, \"num_hidden_layers\": 2, \"vocab_size\": 10,"
           " \"type_vocab_size\": 2, \"max_position_embeddings\": 8, \"layer_norm_eps\": 1e-05,"
           " \"id2label\": {\"0\": \"bad\", \"1\": \"so-so\", \"2\": \"good\"}}";
}

/* The name as the file has it, for one layer. */
static void file_name_of(const struct shape *shape, int layer, bool old_names, char name[128])
{
    const char *from = shape->name;
    char *to = name;

    for (; *from && *from != '@'; from++)
        *to++ = (char)(*from == '#' ? '0' + layer : *from);
    if (*from == '@')
        from++;
    if (old_names && from[-1] == '@')
        from = strcmp(from, "weight") == 0 ? "gamma" : "beta";
    strcpy(to, from);
}

/* `value` is positive and has few bits, so that the narrow types hold it exactly: cutting is
 * enough. */
static size_t put_element(uint8_t *at, float value, enum model_dtype dtype)
{
    const uint32_t exponent_bias = (127 - 15) << 10;
    uint32_t bits;
    uint16_t narrow;

    memcpy(&bits, &value, sizeof(bits));
    if (dtype == MODEL_FLOAT32) {
        memcpy(at, &bits, sizeof(bits));
        return sizeof(bits);
    }
    narrow = (uint16_t)(dtype == MODEL_FLOAT16 ? (bits >> 13) - exponent_bias : bits >> 16);
    memcpy(at, &narrow, sizeof(narrow));
    return sizeof(narrow);
}

static size_t put_tensor(uint8_t *at, const struct shape *shape, int number, enum model_dtype dtype)
{
    int count = (shape->rows ? shape->rows : 1) * shape->columns;
    size_t used = 0;

    for (int i = 0; i < count; i++)
        used += put_element(at + used, (float)number + (float)(i % 4 + 1) / 4, dtype);
    return used;
}

static struct tiny_bytes join(const char *header, uint64_t header_bytes, const uint8_t *data,
                              size_t data_bytes)
{
    struct tiny_bytes file = {malloc(8 + header_bytes + data_bytes), 8 + header_bytes + data_bytes};

    EXPECT(file.bytes);
    memcpy(file.bytes, &header_bytes, 8);
    memcpy(file.bytes + 8, header, header_bytes);
    memcpy(file.bytes + 8 + header_bytes, data, data_bytes);
    return file;
}

struct tiny_bytes tiny_file(const char *header, size_t data_bytes)
{
    static const uint8_t zeros[DATA_BYTES_MAX];

    EXPECT(data_bytes <= sizeof(zeros));
    return join(header, strlen(header), zeros, data_bytes);
}

/* A whole file while it is being put together. */
struct writer {
    char header[HEADER_BYTES_MAX];
    uint8_t data[DATA_BYTES_MAX];
    size_t header_bytes, data_bytes;
    int n_tensors;
};

static void add_tensor(struct writer *writer, const struct shape *shape, const char *name,
                       enum model_dtype dtype)
{
    static const char *const dtype_names[] = {
        [MODEL_FLOAT32] = "F32", [MODEL_FLOAT16] = "F16", [MODEL_BFLOAT16] = "BF16"};
    size_t begin = writer->data_bytes;
    char rows[16] = "";

    writer->data_bytes += put_tensor(writer->data + begin, shape, writer->n_tensors++, dtype);
    if (shape->rows)
        sprintf(rows, "%d,", shape->rows);
    writer->header_bytes +=
        (size_t)sprintf(writer->header + writer->header_bytes,
                        ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%s%d],\"data_offsets\":[%zu,%zu]}",
                        name, dtype_names[dtype], rows, shape->columns, begin, writer->data_bytes);
    EXPECT(writer->header_bytes < HEADER_BYTES_MAX / 2 && writer->data_bytes < DATA_BYTES_MAX / 2);
}

struct tiny_bytes tiny_weights(enum model_architecture architecture, enum model_dtype dtype,
                               bool old_names)
{
    static struct writer writer;
    bool bert = architecture == MODEL_BERT;
    const struct shape *shapes = bert ? bert_shapes : distilbert_shapes;
    size_t n_shapes = bert ? ARRAY_COUNT(bert_shapes) : ARRAY_COUNT(distilbert_shapes);

    memset(&writer, 0, sizeof(writer));
    writer.header_bytes = (size_t)sprintf(writer.header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < n_shapes; i++)
        for (int layer = 0; layer < (strchr(shapes[i].name, '#') ? TINY_LAYERS : 1); layer++) {
            char name[128];
            file_name_of(&shapes[i], layer, old_names, name);
            add_tensor(&writer, &shapes[i], name, dtype);
        }
    strcpy(writer.header + writer.header_bytes, "}   ");
    return join(writer.header, strlen(writer.header), writer.data, writer.data_bytes);
}

void tiny_folder_create(char folder[TINY_PATH_BYTES])
{
    const char *parent = getenv("TMPDIR");

    snprintf(folder, TINY_PATH_BYTES, "%s/weir-models-XXXXXX", parent ? parent : "/tmp");
    EXPECT(mkdtemp(folder));
}

void tiny_folder_write(const char *folder, const char *name, const void *bytes, size_t size_bytes)
{
    char path[TINY_PATH_BYTES + 64];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "wb");
    EXPECT(file);
    EXPECT_EQUAL(fwrite(bytes, 1, size_bytes, file), size_bytes);
    EXPECT_EQUAL(fclose(file), 0);
}

static int remove_entry(const char *path, const struct stat *facts, int kind, struct FTW *place)
{
    return remove(path);
}

void tiny_folder_remove(const char *folder)
{
    EXPECT_EQUAL(nftw(folder, remove_entry, 4, FTW_DEPTH | FTW_PHYS), 0);
}

void tiny_folder_create_model(char folder[TINY_PATH_BYTES], enum model_architecture architecture,
                              enum model_dtype dtype)
{
    const char *config = tiny_config(architecture);
    struct tiny_bytes weights = tiny_weights(architecture, dtype, false);

    tiny_folder_create(folder);
    tiny_folder_write(folder, "config.json", config, strlen(config));
    tiny_folder_write(folder, "model.safetensors", weights.bytes, weights.size_bytes);
    free(weights.bytes);
}

static int allocations_until_failure, allocations_held;
static bool allocation_failed;

static void *failing_malloc(size_t size_bytes)
{
    void *memory;

    if (allocations_until_failure && --allocations_until_failure == 0) {
        allocation_failed = true;
        return NULL;
    }
    memory = malloc(size_bytes);
    allocations_held += memory != NULL;
    return memory;
}

static void counting_free(void *memory)
{
    allocations_held -= memory != NULL;
    free(memory);
}

void tiny_fail_allocation(int n)
{
    json_set_alloc_funcs(failing_malloc, counting_free);
    allocations_until_failure = n;
    allocation_failed = false;
}

bool tiny_allocation_failed(void)
{
    return allocation_failed;
}

int tiny_allocations_held(void)
{
    return allocations_held;
}
