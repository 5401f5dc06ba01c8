/* tokenizer_config.json and its older companions, special_tokens_map.json and added_tokens.json.
 *
 * The class is this file's tokenizer_class, else that of config.json, else what its model_type has,
 * which is one of BERT's. Of a class of BERT's, this file's words about the normalizer win over
 * tokenizer.json, and so do the class's defaults where the file is silent or not there:
 * transformers constructs the class with them, so a cased tokenizer.json without do_lower_case
 * beside it is lowercased there, too. */
#include "models/refuse.h"
#include "models/tokenizer_builder.h"

#include <stdlib.h>
#include <string.h>

#define CONFIG_FILE   "tokenizer_config.json"
#define MODEL_FILE    "config.json"
#define SPECIALS_FILE "special_tokens_map.json"
#define ADDED_FILE    "added_tokens.json"

static const char *const role_keys[] = {
#define ROLE_KEY(role, key, name) key,
    TOKENIZER_ROLES(ROLE_KEY)
#undef ROLE_KEY
};

/* Classes whose WordPiece is BERT's, with and without "Fast". */
static const char *const bert_classes[] = {
    "BertTokenizer",           "BertTokenizerFast",       "DistilBertTokenizer",
    "DistilBertTokenizerFast", "ElectraTokenizer",        "ElectraTokenizerFast",
    "MobileBertTokenizer",     "MobileBertTokenizerFast", "RetriBertTokenizer"};
/* Classes that take tokenizer.json as it is; the second only transformers 5 knows. */
static const char *const generic_classes[] = {"PreTrainedTokenizerFast", "TokenizersBackend"};

/* Of all these, those without token_type_ids among their model_input_names. */
static const char *const one_type_classes[] = {"DistilBertTokenizer", "DistilBertTokenizerFast",
                                               "RetriBertTokenizer", "TokenizersBackend"};

static bool is_one_of(const char *word, const char *const *words, size_t n_words)
{
    for (size_t i = 0; i < n_words; i++)
        if (strcmp(word, words[i]) == 0)
            return true;
    return false;
}

static int read_flag(struct tokenizer_builder *builder, const json_t *config, const char *key,
                     bool *flag)
{
    const json_t *value = json_object_get(config, key);
    if (value && !json_is_boolean(value))
        return refuse(builder->error, CONFIG_FILE, "\"%s\" must be true or false", key);
    if (value)
        *flag = json_is_true(value);
    return 0;
}

/* The keyword arguments of BertTokenizerFast, with its defaults. It leaves alone whatever is no
 * BertNormalizer. */
static int read_normalizer(struct tokenizer_builder *builder, const json_t *config)
{
    struct tokenizer_files *files = builder->files;
    const json_t *strip_accents = json_object_get(config, "strip_accents");
    if (builder->normalizer_is_fixed)
        return 0;
    files->lowercase = files->handle_chinese_chars = true;
    int result = read_flag(builder, config, "do_lower_case", &files->lowercase);
    if (result == 0)
        result = read_flag(builder, config, "tokenize_chinese_chars", &files->handle_chinese_chars);
    files->strip_accents = files->lowercase;
    if (result == 0 && strip_accents && !json_is_null(strip_accents))
        result = read_flag(builder, config, "strip_accents", &files->strip_accents);
    return result;
}

/* `class` is the name that stands in `file`; NULL, where none does, is BERT's. */
static int apply_class(struct tokenizer_builder *builder, const char *file, const char *class,
                       const json_t *config)
{
    bool is_bert = !class || is_one_of(class, bert_classes, ARRAY_COUNT(bert_classes));
    bool is_generic = class && is_one_of(class, generic_classes, ARRAY_COUNT(generic_classes));
    if (!is_bert && !(is_generic && builder->from_json))
        return refuse(builder->error, file,
                      "tokenizer_class is %.60s; weir supports BertTokenizer and "
                      "DistilBertTokenizer, or any with a BERT tokenizer.json",
                      class);
    builder->files->one_token_type =
        class && is_one_of(class, one_type_classes, ARRAY_COUNT(one_type_classes));
    for (int role = 0; is_bert && role < TOKENIZER_N_ROLES; role++)
        builder->role_named[role] = true;
    return is_bert ? read_normalizer(builder, config) : 0;
}

/* The class that config.json means; without either file there is none, and tokenizer.json has the
 * word alone. */
static int read_model_class(struct tokenizer_builder *builder, const char *folder,
                            const json_t *config)
{
    json_t *model = NULL;
    int result = tokenizer_builder_read_json(builder, folder, MODEL_FILE, &model);
    const char *class = json_string_value(json_object_get(model, "tokenizer_class"));
    const char *model_type = json_string_value(json_object_get(model, "model_type"));
    if (!class && model_type && strcmp(model_type, "distilbert") == 0)
        class = "DistilBertTokenizer";
    if (result > 0)
        result =
            config || !builder->from_json ? apply_class(builder, CONFIG_FILE, NULL, config) : 0;
    else if (result == 0)
        result = apply_class(builder, MODEL_FILE, class, config);
    json_decref(model);
    return result;
}

/* `config` is NULL where there is no tokenizer_config.json. */
static int read_class(struct tokenizer_builder *builder, const char *folder, const json_t *config)
{
    const char *class = json_string_value(json_object_get(config, "tokenizer_class"));
    return class ? apply_class(builder, CONFIG_FILE, class, config)
                 : read_model_class(builder, folder, config);
}

/* What the file names wins over what the class would. */
static int read_input_names(struct tokenizer_builder *builder, const json_t *config)
{
    const json_t *names = json_object_get(config, "model_input_names");
    if (!names || json_is_null(names))
        return 0;
    if (!json_is_array(names))
        return refuse(builder->error, CONFIG_FILE, "\"model_input_names\" must be a list");
    builder->files->one_token_type = true;
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (name && strcmp(name, "token_type_ids") == 0)
            builder->files->one_token_type = false;
    }
    return 0;
}

/* Some files say 1e30 for "no limit"; transformers before 3 called it max_len. */
static int read_model_max_length(struct tokenizer_builder *builder, const json_t *config)
{
    const json_t *value = json_object_get(config, "model_max_length");
    if (!value)
        value = json_object_get(config, "max_len");
    if (!value || json_is_null(value))
        return 0;
    double length = json_number_value(value);
    if (!json_is_number(value) || !(length >= 1))
        return refuse(builder->error, CONFIG_FILE,
                      "\"model_max_length\" must be a number of at least 1");
    builder->files->model_max_length = length < UINT32_MAX ? (uint32_t)length : UINT32_MAX;
    return 0;
}

static int compare_ids(const void *left, const void *right)
{
    const struct tokenizer_added_token *a = left, *b = right;
    return (a->id > b->id) - (a->id < b->id);
}

/* By id, which is the order in which the reference adds them. */
static int add_sorted(struct tokenizer_builder *builder, const char *file,
                      struct tokenizer_added_token *tokens, size_t n_tokens)
{
    int result = 0;
    qsort(tokens, n_tokens, sizeof(*tokens), compare_ids);
    tokenizer_builder_begin_added(builder);
    for (size_t i = 0; result == 0 && i < n_tokens; i++)
        result = tokenizer_builder_add_token(builder, file, &tokens[i]);
    return result;
}

/* {"0": {"content": "[PAD]", "special": true, ...}, ...} */
static int read_added_tokens_decoder(struct tokenizer_builder *builder, json_t *decoder)
{
    struct tokenizer_added_token *tokens;
    const char *key;
    json_t *value;
    size_t count = 0;
    int result = 0;
    if (!json_is_object(decoder))
        return refuse(builder->error, CONFIG_FILE, "\"added_tokens_decoder\" must be an object");
    tokens = calloc(json_object_size(decoder) + 1, sizeof(*tokens));
    if (!tokens)
        return tokenizer_builder_no_memory(builder);
    json_object_foreach(decoder, key, value)
    {
        char *end;
        unsigned long id = strtoul(key, &end, 10);
        if (*end != '\0' || end == key || id >= TOKENIZER_IDS_MAX || !json_is_object(value))
            result = refuse(builder->error, CONFIG_FILE,
                            "\"added_tokens_decoder\" must map ids below %d to tokens",
                            TOKENIZER_IDS_MAX);
        else
            result = tokenizer_builder_token_from_json(builder, CONFIG_FILE, value, false,
                                                       &tokens[count]);
        if (result != 0)
            break;
        tokens[count++].id = (uint32_t)id;
    }
    if (result == 0)
        result = add_sorted(builder, CONFIG_FILE, tokens, count);
    free(tokens);
    return result;
}

/* Names of roles: {"cls_token": "[CLS]"} or {"cls_token": {"content": "[CLS]", ...}}. */
static int read_roles(struct tokenizer_builder *builder, const char *file, const json_t *config)
{
    struct tokenizer_added_token token;
    for (int role = 0; role < TOKENIZER_N_ROLES; role++) {
        const json_t *value = json_object_get(config, role_keys[role]);
        if (!value || json_is_null(value))
            continue;
        int result = tokenizer_builder_token_from_json(builder, file, value, true, &token);
        if (result != 0)
            return result;
        token.special = true;
        if (role != ROLE_UNK || !builder->from_json)
            builder->roles[role] = token;
        builder->role_named[role] = true;
    }
    return 0;
}

/* Every key that can hold special tokens: the roles', and lists of more. */
static int add_special_tokens(struct tokenizer_builder *builder, const char *file,
                              const json_t *config)
{
    static const char *const list_keys[] = {"additional_special_tokens", "extra_special_tokens"};
    struct tokenizer_added_token token;
    int result = 0;
    tokenizer_builder_begin_added(builder);
    for (size_t i = 0; i < ARRAY_COUNT(list_keys); i++) {
        const json_t *list = json_object_get(config, list_keys[i]);
        for (size_t j = 0; result == 0 && j < json_array_size(list); j++) {
            result = tokenizer_builder_token_from_json(builder, file, json_array_get(list, j), true,
                                                       &token);
            token.special = true;
            if (result == 0)
                result = tokenizer_builder_add_token(builder, file, &token);
        }
    }
    return result;
}

/* {"<new>": 30522, ...}: added tokens of a folder without tokenizer.json. */
static int read_added_tokens_file(struct tokenizer_builder *builder, json_t *root)
{
    struct tokenizer_added_token *tokens = calloc(json_object_size(root) + 1, sizeof(*tokens));
    const char *key;
    json_t *value;
    size_t count = 0;
    int result = tokens ? 0 : tokenizer_builder_no_memory(builder);
    json_object_foreach(root, key, value)
    {
        double id = json_number_value(value);
        if (result == 0 && (!json_is_number(value) || !(id >= 0 && id < TOKENIZER_IDS_MAX)))
            result = refuse(builder->error, ADDED_FILE, "must map tokens to ids below %d",
                            TOKENIZER_IDS_MAX);
        if (result != 0)
            break;
        tokens[count].content = tokenizer_builder_copy(builder, key, strlen(key));
        tokens[count].normalized = true;
        tokens[count].id = (uint32_t)id;
        if (!tokens[count++].content.bytes)
            result = tokenizer_builder_no_memory(builder);
    }
    if (result == 0)
        result = add_sorted(builder, ADDED_FILE, tokens, count);
    free(tokens);
    return result;
}

static int read_companions(struct tokenizer_builder *builder, const char *folder)
{
    json_t *root = NULL;
    int result = tokenizer_builder_read_json(builder, folder, SPECIALS_FILE, &root);
    if (result == 0)
        result = read_roles(builder, SPECIALS_FILE, root);
    if (result == 0)
        result = add_special_tokens(builder, SPECIALS_FILE, root);
    json_decref(root);
    if (result < 0 || builder->from_json)
        return result < 0 ? result : 0;
    root = NULL;
    result = tokenizer_builder_read_json(builder, folder, ADDED_FILE, &root);
    if (result == 0)
        result = read_added_tokens_file(builder, root);
    json_decref(root);
    return result < 0 ? result : 0;
}

/* Where it is silent, tokenizer.json's direction stays. */
static int read_truncation_side(struct tokenizer_builder *builder, const json_t *config)
{
    const json_t *side = json_object_get(config, "truncation_side");
    const char *word = json_string_value(side);
    bool is_left = word && strcmp(word, "left") == 0;
    if (side && !is_left && !(word && strcmp(word, "right") == 0))
        return refuse(builder->error, CONFIG_FILE, "\"truncation_side\" must be left or right");
    if (side)
        builder->files->truncate_left = is_left;
    return 0;
}

static int apply_config(struct tokenizer_builder *builder, const char *folder, json_t *config)
{
    json_t *decoder = json_object_get(config, "added_tokens_decoder");
    int result = read_input_names(builder, config);
    if (result == 0)
        result = read_model_max_length(builder, config);
    if (result == 0)
        result = read_truncation_side(builder, config);
    if (result == 0)
        result =
            read_flag(builder, config, "split_special_tokens", &builder->files->split_specials);
    if (result == 0)
        result = read_roles(builder, CONFIG_FILE, config);
    if (result == 0 && decoder)
        result = read_added_tokens_decoder(builder, decoder);
    else if (result == 0)
        result = read_companions(builder, folder);
    if (result == 0)
        result = add_special_tokens(builder, CONFIG_FILE, config);
    return result;
}

int tokenizer_config_apply(struct tokenizer_builder *builder, const char *folder)
{
    json_t *config = NULL;
    int result = tokenizer_builder_read_json(builder, folder, CONFIG_FILE, &config);
    if (result < 0)
        return result;
    result = read_class(builder, folder, config);
    if (result == 0)
        result = apply_config(builder, folder, config);
    json_decref(config);
    return result;
}
