/* The names are transformers'. A `*` stands for the layer's number; a linear module and a norm have
 * `.weight` and `.bias`; checkpoints converted from TensorFlow call a norm's `.gamma` and `.beta`.
 */
#include "models/weights.h"

#include "models/refuse.h"

#include <string.h>

#define FILE_NAME      "model.safetensors"
#define NAME_BYTES_MAX 128

/* What a number of rows or columns is called in the config. */
enum extent { ONE, HIDDEN, FFN, VOCAB, POSITIONS, TYPES, LABELS };
enum kind { TABLE, LINEAR, NORM };

struct role {
    const char *name;
    size_t offset; /* in struct model_weights, or in struct model_layer where the name has a `*` */
    enum kind kind;
    enum extent rows, columns; /* of the weight; a vector has rows ONE */
};

#define IN_MODEL(member) offsetof(struct model_weights, member)
#define IN_LAYER(member) offsetof(struct model_layer, member)

static const struct role distilbert_roles[] = {
    {"distilbert.embeddings.word_embeddings", IN_MODEL(word_embeddings), TABLE, VOCAB, HIDDEN},
    {"distilbert.embeddings.position_embeddings", IN_MODEL(position_embeddings), TABLE, POSITIONS,
     HIDDEN},
    {"distilbert.embeddings.LayerNorm", IN_MODEL(embeddings_norm), NORM, ONE, HIDDEN},
    {"distilbert.transformer.layer.*.attention.q_lin", IN_LAYER(query), LINEAR, HIDDEN, HIDDEN},
    {"distilbert.transformer.layer.*.attention.k_lin", IN_LAYER(key), LINEAR, HIDDEN, HIDDEN},
    {"distilbert.transformer.layer.*.attention.v_lin", IN_LAYER(value), LINEAR, HIDDEN, HIDDEN},
    {"distilbert.transformer.layer.*.attention.out_lin", IN_LAYER(attention_output), LINEAR, HIDDEN,
     HIDDEN},
    {"distilbert.transformer.layer.*.sa_layer_norm", IN_LAYER(attention_norm), NORM, ONE, HIDDEN},
    {"distilbert.transformer.layer.*.ffn.lin1", IN_LAYER(ffn_in), LINEAR, FFN, HIDDEN},
    {"distilbert.transformer.layer.*.ffn.lin2", IN_LAYER(ffn_out), LINEAR, HIDDEN, FFN},
    {"distilbert.transformer.layer.*.output_layer_norm", IN_LAYER(output_norm), NORM, ONE, HIDDEN},
    {"pre_classifier", IN_MODEL(pooler), LINEAR, HIDDEN, HIDDEN},
    {"classifier", IN_MODEL(classifier), LINEAR, LABELS, HIDDEN},
};

static const struct role bert_roles[] = {
    {"bert.embeddings.word_embeddings", IN_MODEL(word_embeddings), TABLE, VOCAB, HIDDEN},
    {"bert.embeddings.position_embeddings", IN_MODEL(position_embeddings), TABLE, POSITIONS,
     HIDDEN},
    {"bert.embeddings.token_type_embeddings", IN_MODEL(type_embeddings), TABLE, TYPES, HIDDEN},
    {"bert.embeddings.LayerNorm", IN_MODEL(embeddings_norm), NORM, ONE, HIDDEN},
    {"bert.encoder.layer.*.attention.self.query", IN_LAYER(query), LINEAR, HIDDEN, HIDDEN},
    {"bert.encoder.layer.*.attention.self.key", IN_LAYER(key), LINEAR, HIDDEN, HIDDEN},
    {"bert.encoder.layer.*.attention.self.value", IN_LAYER(value), LINEAR, HIDDEN, HIDDEN},
    {"bert.encoder.layer.*.attention.output.dense", IN_LAYER(attention_output), LINEAR, HIDDEN,
     HIDDEN},
    {"bert.encoder.layer.*.attention.output.LayerNorm", IN_LAYER(attention_norm), NORM, ONE,
     HIDDEN},
    {"bert.encoder.layer.*.intermediate.dense", IN_LAYER(ffn_in), LINEAR, FFN, HIDDEN},
    {"bert.encoder.layer.*.output.dense", IN_LAYER(ffn_out), LINEAR, HIDDEN, FFN},
    {"bert.encoder.layer.*.output.LayerNorm", IN_LAYER(output_norm), NORM, ONE, HIDDEN},
    {"bert.pooler.dense", IN_MODEL(pooler), LINEAR, HIDDEN, HIDDEN},
    {"classifier", IN_MODEL(classifier), LINEAR, LABELS, HIDDEN},
};

static const struct {
    const struct role *roles;
    size_t n_roles;
} architectures[] = {
    [MODEL_DISTILBERT] = {distilbert_roles, ARRAY_COUNT(distilbert_roles)},
    [MODEL_BERT] = {bert_roles, ARRAY_COUNT(bert_roles)},
};

/* What the search carries along. */
struct search {
    const struct safetensors *file;
    const struct model_config *config;
    char *error;
};

static uint32_t extent(const struct model_config *config, enum extent which)
{
    const uint32_t extents[] = {
        [ONE] = 1,
        [HIDDEN] = config->hidden_dim,
        [FFN] = config->ffn_dim,
        [VOCAB] = config->vocab_size,
        [POSITIONS] = config->n_positions,
        [TYPES] = config->n_types,
        [LABELS] = config->n_labels,
    };

    return extents[which];
}

static bool read_dtype(enum safetensors_dtype stored, enum model_dtype *dtype)
{
    switch (stored) {
    case SAFETENSORS_F32:
        *dtype = MODEL_FLOAT32;
        return true;
    case SAFETENSORS_F16:
        *dtype = MODEL_FLOAT16;
        return true;
    case SAFETENSORS_BF16:
        *dtype = MODEL_BFLOAT16;
        return true;
    default:
        return false;
    }
}

/* "[2, 768]" */
static void print_shape(const struct safetensors_tensor *tensor, char *text, size_t text_bytes)
{
    size_t used = (size_t)snprintf(text, text_bytes, "[");

    for (uint32_t i = 0; i < tensor->rank && used < text_bytes; i++)
        used += (size_t)snprintf(text + used, text_bytes - used, "%s%llu", i ? ", " : "",
                                 (unsigned long long)tensor->shape[i]);
    if (used < text_bytes)
        snprintf(text + used, text_bytes - used, "]");
}

/* One tensor with the shape that the config makes: (rows, columns), or a vector where rows is 1 and
 * `vector` is set. */
static int use(const struct search *search, const struct safetensors_tensor *found, bool vector,
               uint32_t rows, uint32_t columns, struct model_tensor *tensor)
{
    char shape[96];
    bool fits = vector ? found->rank == 1 && found->shape[0] == columns
                       : found->rank == 2 && found->shape[0] == rows && found->shape[1] == columns;

    print_shape(found, shape, sizeof(shape));
    if (!fits && vector)
        return refuse(search->error, FILE_NAME, "%s has shape %s; config.json makes it [%u]",
                      found->name, shape, columns);
    if (!fits)
        return refuse(search->error, FILE_NAME, "%s has shape %s; config.json makes it [%u, %u]",
                      found->name, shape, rows, columns);
    if (!read_dtype(found->dtype, &tensor->dtype))
        return refuse(search->error, FILE_NAME, "%s is %s; weir reads F32, F16 and BF16",
                      found->name, safetensors_dtype_name(found->dtype));
    tensor->data = search->file->bytes + search->file->data_offset + found->begin;
    tensor->rows = vector ? 1 : rows;
    tensor->columns = columns;
    return 0;
}

/* The tensor `module` + `suffix`, or + `old_suffix` where there is one. */
static int find(const struct search *search, const char *module, const char *suffix,
                const char *old_suffix, const struct safetensors_tensor **found)
{
    char name[NAME_BYTES_MAX];

    snprintf(name, sizeof(name), "%s%s", module, suffix);
    *found = safetensors_find(search->file, name);
    if (!*found && old_suffix) {
        char old_name[NAME_BYTES_MAX];
        snprintf(old_name, sizeof(old_name), "%s%s", module, old_suffix);
        *found = safetensors_find(search->file, old_name);
    }
    if (!*found)
        return refuse(search->error, FILE_NAME,
                      "no tensor %s: the checkpoint is not that of a %s sequence classifier", name,
                      search->config->model_type);
    return 0;
}

/* The weight of a module and, but for an embedding table, its bias. `tensors` points to the first
 * of one or two struct model_tensor, as model_linear and model_norm have them. */
static int find_module(const struct search *search, const struct role *role, const char *module,
                       struct model_tensor *tensors)
{
    uint32_t rows = extent(search->config, role->rows);
    uint32_t columns = extent(search->config, role->columns);
    bool norm = role->kind == NORM;
    const struct safetensors_tensor *found;
    int status = find(search, module, ".weight", norm ? ".gamma" : NULL, &found);

    if (!status)
        status = use(search, found, norm, rows, columns, &tensors[0]);
    if (status || role->kind == TABLE)
        return status;
    status = find(search, module, ".bias", norm ? ".beta" : NULL, &found);
    if (!status)
        status = use(search, found, true, 1, norm ? columns : rows, &tensors[1]);
    return status;
}

static int find_role(const struct search *search, const struct role *role,
                     struct model_weights *weights)
{
    const char *star = strchr(role->name, '*');
    uint32_t n_modules = star ? search->config->n_layers : 1;

    for (uint32_t i = 0; i < n_modules; i++) {
        char module[NAME_BYTES_MAX];
        char *owner = star ? (char *)&weights->layers[i] : (char *)weights;
        int status;
        if (star)
            snprintf(module, sizeof(module), "%.*s%u%s", (int)(star - role->name), role->name, i,
                     star + 1);
        else
            snprintf(module, sizeof(module), "%s", role->name);
        status = find_module(search, role, module, (struct model_tensor *)(owner + role->offset));
        if (status)
            return status;
    }
    return 0;
}

_Static_assert(offsetof(struct model_linear, weight) == 0 &&
                   offsetof(struct model_linear, bias) == sizeof(struct model_tensor) &&
                   offsetof(struct model_norm, weight) == 0 &&
                   offsetof(struct model_norm, bias) == sizeof(struct model_tensor),
               "find_module() fills a weight and a bias as two tensors in a row");

int weights_find(const struct safetensors *file, const struct model_config *config,
                 struct model_weights *weights, char error[ERROR_BYTES])
{
    const struct search search = {file, config, error};
    int status = 0;

    memset(weights, 0, sizeof(*weights));
    for (size_t i = 0; !status && i < architectures[config->architecture].n_roles; i++)
        status = find_role(&search, &architectures[config->architecture].roles[i], weights);
    return status;
}
