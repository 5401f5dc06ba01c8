/* One table for each architecture says which numbers are read and within which limits; functions of
 * a few lines say what else must hold. The rules for labels and the problem type are those of
 * transformers 4.49, `configuration_utils.py` and `pipelines/text_classification.py`. */
#include "models/config.h"

#include "models/refuse.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_NAME "config.json"

#define LABELS_DEFAULT      2 /* transformers' num_labels where config.json says nothing */
#define LABEL_DEFAULT_BYTES sizeof("LABEL_4294967295")
#define LABEL_DIGITS_MAX    4 /* of a key of id2label */
#define LABEL_NUMBER_BYTES  sizeof("-9223372036854775808")
#define LAYER_NORM_EPS      1e-12
#define LAYER_NORM_EPS_MAX  0.1

_Static_assert(MODEL_LABELS_MAX <= 9999, "a label's number must fit LABEL_DIGITS_MAX");

struct field {
    const char *name, *alias; /* the alias wins where both stand, as in transformers */
    size_t offset;            /* of a uint32_t in struct model_config */
    uint32_t minimum, maximum, fallback;
};

struct architecture {
    enum model_architecture architecture;
    const char *model_type, *class_name, *activation_key;
    const struct field *fields;
    size_t n_fields;
    bool layer_norm_eps_is_fixed; /* DistilBERT's modules ignore config.json here */
};

#define AT(member) offsetof(struct model_config, member)

static const struct field distilbert_fields[] = {
    {"vocab_size", NULL, AT(vocab_size), 1, MODEL_VOCAB_MAX, 30522},
    {"dim", "hidden_size", AT(hidden_dim), 1, MODEL_DIM_MAX, 768},
    {"n_layers", "num_hidden_layers", AT(n_layers), 1, MODEL_LAYERS_MAX, 6},
    {"n_heads", "num_attention_heads", AT(n_heads), 1, MODEL_HEADS_MAX, 12},
    {"hidden_dim", NULL, AT(ffn_dim), 1, MODEL_FFN_MAX, 3072},
    {"max_position_embeddings", NULL, AT(n_positions), 1, MODEL_POSITIONS_MAX, 512},
};

static const struct field bert_fields[] = {
    {"vocab_size", NULL, AT(vocab_size), 1, MODEL_VOCAB_MAX, 30522},
    {"hidden_size", NULL, AT(hidden_dim), 1, MODEL_DIM_MAX, 768},
    {"num_hidden_layers", NULL, AT(n_layers), 1, MODEL_LAYERS_MAX, 12},
    {"num_attention_heads", NULL, AT(n_heads), 1, MODEL_HEADS_MAX, 12},
    {"intermediate_size", NULL, AT(ffn_dim), 1, MODEL_FFN_MAX, 3072},
    {"max_position_embeddings", NULL, AT(n_positions), 1, MODEL_POSITIONS_MAX, 512},
    {"type_vocab_size", NULL, AT(n_types), 1, MODEL_TYPES_MAX, 2},
};

static const struct architecture architectures[] = {
    {MODEL_DISTILBERT, "distilbert", "DistilBertForSequenceClassification", "activation",
     distilbert_fields, ARRAY_COUNT(distilbert_fields), true},
    {MODEL_BERT, "bert", "BertForSequenceClassification", "hidden_act", bert_fields,
     ARRAY_COUNT(bert_fields), false},
};

static const struct {
    const char *word;
    enum model_activation activation;
} activations[] = {{"gelu", MODEL_GELU}, {"gelu_python", MODEL_GELU}, {"relu", MODEL_RELU}};

static const struct {
    const char *word;
    enum model_problem problem;
} problems[] = {{"regression", MODEL_REGRESSION},
                {"single_label_classification", MODEL_SINGLE_LABEL},
                {"multi_label_classification", MODEL_MULTI_LABEL}};

/* The key's value; NULL where it is missing or null, which mean the same to transformers. */
static const json_t *present(const json_t *root, const char *key)
{
    const json_t *value = key ? json_object_get(root, key) : NULL;

    return json_is_null(value) ? NULL : value;
}

static int read_number(const json_t *root, const struct field *field, struct model_config *config,
                       char error[ERROR_BYTES])
{
    const json_t *alias = present(root, field->alias);
    const char *name = alias ? field->alias : field->name;
    const json_t *value = alias ? alias : present(root, field->name);
    json_int_t number = value ? json_integer_value(value) : (json_int_t)field->fallback;
    uint32_t stored;

    if (value && !json_is_integer(value))
        return refuse(error, FILE_NAME, "\"%s\" must be a whole number", name);
    if (number < field->minimum || number > field->maximum)
        return refuse(error, FILE_NAME, "\"%s\" is %lld; weir takes %u to %u", name,
                      (long long)number, field->minimum, field->maximum);
    stored = (uint32_t)number;
    memcpy((char *)config + field->offset, &stored, sizeof(stored));
    return 0;
}

static int read_numbers(const json_t *root, const struct architecture *architecture,
                        struct model_config *config, char error[ERROR_BYTES])
{
    for (size_t i = 0; i < architecture->n_fields; i++) {
        int status = read_number(root, &architecture->fields[i], config, error);
        if (status)
            return status;
    }
    if (config->hidden_dim % config->n_heads)
        return refuse(error, FILE_NAME, "%u dimensions cannot be shared among %u attention heads",
                      config->hidden_dim, config->n_heads);
    return 0;
}

static int read_layer_norm_eps(const json_t *root, const struct architecture *architecture,
                               struct model_config *config, char error[ERROR_BYTES])
{
    const json_t *value =
        architecture->layer_norm_eps_is_fixed ? NULL : present(root, "layer_norm_eps");
    double eps = value ? json_number_value(value) : LAYER_NORM_EPS;

    config->layer_norm_eps = (float)eps;
    if (!(config->layer_norm_eps > 0 && eps <= LAYER_NORM_EPS_MAX))
        return refuse(error, FILE_NAME, "\"layer_norm_eps\" must be a number above 0, at most %g",
                      LAYER_NORM_EPS_MAX);
    return 0;
}

/* The class name decides where there is one; older files say only model_type. */
static const struct architecture *find_architecture(const json_t *root, char error[ERROR_BYTES])
{
    const json_t *classes = present(root, "architectures");
    const char *class_name = json_string_value(json_array_get(classes, 0));
    const char *model_type = json_string_value(present(root, "model_type"));
    const char *found = class_name ? class_name : model_type;

    for (size_t i = 0; found && i < ARRAY_COUNT(architectures); i++) {
        const struct architecture *known = &architectures[i];
        if (strcmp(found, class_name ? known->class_name : known->model_type) == 0)
            return known;
    }
    refuse(error, FILE_NAME,
           "the architecture is %.60s; weir serves DistilBertForSequenceClassification and "
           "BertForSequenceClassification",
           found ? found : "not named");
    return NULL;
}

static int read_activation(const json_t *root, const struct architecture *architecture,
                           struct model_config *config, char error[ERROR_BYTES])
{
    const json_t *value = present(root, architecture->activation_key);
    const char *word = value ? json_string_value(value) : "gelu";

    for (size_t i = 0; word && i < ARRAY_COUNT(activations); i++)
        if (strcmp(word, activations[i].word) == 0) {
            config->activation = activations[i].activation;
            return 0;
        }
    return refuse(error, FILE_NAME, "\"%s\" is %.40s; weir computes gelu (the exact one) and relu",
                  architecture->activation_key, word ? word : "not a string");
}

static int refuse_other_kinds(const json_t *root, char error[ERROR_BYTES])
{
    const json_t *positions = present(root, "position_embedding_type");
    const char *position_type = positions ? json_string_value(positions) : "absolute";

    if (!position_type || strcmp(position_type, "absolute") != 0)
        return refuse(error, FILE_NAME,
                      "\"position_embedding_type\" is %.40s; weir computes absolute ones only",
                      position_type ? position_type : "not a string");
    if (json_is_true(present(root, "is_decoder")))
        return refuse(error, FILE_NAME, "\"is_decoder\" is true; weir serves encoders only");
    if (json_is_true(present(root, "add_cross_attention")))
        return refuse(error, FILE_NAME,
                      "\"add_cross_attention\" is true; weir serves plain encoders only");
    if (json_object_size(present(root, "pruned_heads")))
        return refuse(error, FILE_NAME,
                      "\"pruned_heads\" names heads that are missing; weir needs them all");
    if (present(root, "quantization_config"))
        return refuse(error, FILE_NAME,
                      "\"quantization_config\": the weights are quantized; take the "
                      "float32, float16 or bfloat16 checkpoint, and --dtype int8 if wanted");
    return 0;
}

/* A key of id2label: decimal digits, below n_labels. */
static bool label_index(const char *key, size_t n_labels, size_t *index)
{
    size_t digits = strspn(key, "0123456789");

    if (digits == 0 || digits > LABEL_DIGITS_MAX || key[digits] != '\0')
        return false;
    *index = strtoul(key, NULL, 10);
    return *index < n_labels;
}

/* Checks every entry of id2label and puts it at its index; an index met twice means that another
 * one is missing. */
static int order_labels(const json_t *map, const json_t **labels, size_t n_labels,
                        char error[ERROR_BYTES])
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)map, key, value)
    {
        size_t index;
        if (!label_index(key, n_labels, &index) || labels[index])
            return refuse(error, FILE_NAME,
                          "\"id2label\" has the key \"%.40s\"; its %zu keys must be 0 to %zu", key,
                          n_labels, n_labels - 1);
        if (!json_is_string(value) && !json_is_integer(value))
            return refuse(error, FILE_NAME,
                          "\"id2label\": label %zu must be a string or a whole number", index);
        if (json_string_length(value) > MODEL_LABEL_BYTES_MAX)
            return refuse(error, FILE_NAME, "\"id2label\": label %zu has %zu bytes; weir takes %u",
                          index, json_string_length(value), MODEL_LABEL_BYTES_MAX);
        labels[index] = value;
    }
    return 0;
}

static size_t label_bytes(const json_t *label)
{
    if (json_is_string(label))
        return json_string_length(label) + 1;
    return label ? LABEL_NUMBER_BYTES : LABEL_DEFAULT_BYTES;
}

static void print_label(const json_t *label, uint32_t index, char *text)
{
    if (json_is_string(label))
        memcpy(text, json_string_value(label), label_bytes(label));
    else if (label)
        snprintf(text, LABEL_NUMBER_BYTES, "%lld", (long long)json_integer_value(label));
    else
        snprintf(text, LABEL_DEFAULT_BYTES, "LABEL_%u", index);
}

/* Moves the labels (NULL: none was given) into one block of their own: pointers, which of them are
 * numbers, then strings. */
static int own_labels(const json_t *const *labels, struct model_config *config, void **strings,
                      char error[ERROR_BYTES])
{
    size_t size_bytes = config->n_labels * (sizeof(char *) + sizeof(bool));
    const char **owned;
    bool *is_number;
    char *text;

    for (uint32_t i = 0; i < config->n_labels; i++)
        size_bytes += label_bytes(labels[i]);
    owned = malloc(size_bytes);
    if (!owned) {
        refuse(error, FILE_NAME, "no memory for %u labels", config->n_labels);
        return -ENOMEM;
    }
    is_number = (bool *)(owned + config->n_labels);
    text = (char *)(is_number + config->n_labels);
    for (uint32_t i = 0; i < config->n_labels; i++) {
        owned[i] = text;
        is_number[i] = json_is_integer(labels[i]);
        print_label(labels[i], i, text);
        text += label_bytes(labels[i]);
    }
    config->labels = owned;
    config->label_is_number = is_number;
    *strings = owned;
    return 0;
}

/* id2label decides; num_labels only where there is none, and 2 where neither stands. */
static int read_labels(const json_t *root, struct model_config *config, void **strings,
                       char error[ERROR_BYTES])
{
    static const struct field num_labels = {"num_labels",     NULL,          AT(n_labels), 1,
                                            MODEL_LABELS_MAX, LABELS_DEFAULT};
    const json_t *labels[MODEL_LABELS_MAX] = {NULL};
    const json_t *map = present(root, "id2label");
    size_t n_labels = json_object_size(map);
    int status;

    if (!map) {
        status = read_number(root, &num_labels, config, error);
    } else if (!json_is_object(map) || n_labels < 1 || n_labels > MODEL_LABELS_MAX) {
        status =
            refuse(error, FILE_NAME, "\"id2label\" must name 1 to %u labels", MODEL_LABELS_MAX);
    } else {
        config->n_labels = (uint32_t)n_labels;
        status = order_labels(map, labels, n_labels, error);
    }
    return status ? status : own_labels(labels, config, strings, error);
}

/* The pipeline's choice: regression gives the logits as they are, several labels or one a sigmoid,
 * anything else softmax. */
static int read_problem(const json_t *root, struct model_config *config, char error[ERROR_BYTES])
{
    const json_t *value = present(root, "problem_type");
    const char *word = value ? json_string_value(value) : "single_label_classification";
    size_t i = 0;

    while (word && i < ARRAY_COUNT(problems) && strcmp(word, problems[i].word) != 0)
        i++;
    if (!word || i == ARRAY_COUNT(problems))
        return refuse(error, FILE_NAME,
                      "\"problem_type\" is %.40s; known are regression, "
                      "single_label_classification and multi_label_classification",
                      word ? word : "not a string");
    config->return_all_scores = json_is_true(present(root, "return_all_scores"));
    config->problem = problems[i].problem;
    if (config->problem == MODEL_SINGLE_LABEL && config->n_labels == 1)
        config->problem = MODEL_MULTI_LABEL;
    return 0;
}

static int read_root(const json_t *root, struct model_config *config, void **strings,
                     char error[ERROR_BYTES])
{
    const struct architecture *architecture = find_architecture(root, error);
    int status;

    if (!architecture)
        return -EINVAL;
    config->architecture = architecture->architecture;
    snprintf(config->model_type, sizeof(config->model_type), "%s", architecture->model_type);
    status = refuse_other_kinds(root, error);
    if (!status)
        status = read_activation(root, architecture, config, error);
    if (!status)
        status = read_numbers(root, architecture, config, error);
    if (!status)
        status = read_layer_norm_eps(root, architecture, config, error);
    if (!status)
        status = read_labels(root, config, strings, error);
    if (!status)
        status = read_problem(root, config, error);
    return status;
}

int config_parse(const char *bytes, size_t size_bytes, struct model_config *config, void **strings,
                 char error[ERROR_BYTES])
{
    json_error_t trouble;
    json_t *root = json_loadb(bytes, size_bytes, 0, &trouble);
    int status;

    memset(config, 0, sizeof(*config));
    *strings = NULL;
    if (!root && !trouble.text[0]) { /* jansson has words for everything but this */
        refuse(error, FILE_NAME, "no memory to read it");
        return -ENOMEM;
    }
    if (!root)
        return refuse(error, FILE_NAME, "not JSON: %.120s (line %d, column %d)", trouble.text,
                      trouble.line, trouble.column);
    status = read_root(root, config, strings, error);
    json_decref(root);
    if (status) {
        free(*strings);
        *strings = NULL;
    }
    return status;
}
