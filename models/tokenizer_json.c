/* tokenizer.json, as the `tokenizers` library writes it. Of its many parts only those that a BERT
 * model has are known here; each check says what it found instead. */
#include "models/refuse.h"
#include "models/tokenizer_builder.h"

#include <string.h>

#define FILE_NAME "tokenizer.json"

static bool is_type(const json_t *value, const char *type)
{
    const char *found = json_string_value(json_object_get(value, "type"));
    return found && strcmp(found, type) == 0;
}

static const char *type_of(const json_t *value)
{
    const char *found = json_string_value(json_object_get(value, "type"));
    return found ? found : "missing";
}

static int read_string(struct tokenizer_builder *builder, const json_t *parent, const char *key,
                       struct tokenizer_string *string)
{
    const json_t *value = json_object_get(parent, key);
    if (!json_is_string(value))
        return refuse(builder->error, FILE_NAME, "model.%s must be a string", key);
    *string = tokenizer_builder_copy(builder, json_string_value(value), json_string_length(value));
    return string->bytes ? 0 : tokenizer_builder_no_memory(builder);
}

static int read_vocabulary(struct tokenizer_builder *builder, const json_t *model)
{
    json_t *vocabulary = json_object_get(model, "vocab"), *value;
    const char *key;
    size_t key_size;
    if (!json_is_object(vocabulary))
        return refuse(builder->error, FILE_NAME, "model.vocab must be an object of token: id");
    int result = tokenizer_builder_reserve(builder, json_object_size(vocabulary));
    if (result != 0)
        return result;
    json_object_keylen_foreach(vocabulary, key, key_size, value)
    {
        struct tokenizer_string text = tokenizer_builder_copy(builder, key, key_size);
        if (!text.bytes)
            return tokenizer_builder_no_memory(builder);
        if (!json_is_number(value))
            return refuse(builder->error, FILE_NAME,
                          "model.vocab: the id of \"%.60s\" must be a number", key);
        result = tokenizer_builder_add_entry(builder, FILE_NAME, text, json_number_value(value));
        if (result != 0)
            return result;
    }
    return tokenizer_builder_index(builder, FILE_NAME);
}

/* Older files leave out the model's type. */
static int read_model(struct tokenizer_builder *builder, const json_t *model)
{
    double max_chars = json_number_value(json_object_get(model, "max_input_chars_per_word"));
    if (!json_is_object(model) || (json_object_get(model, "type") && !is_type(model, "WordPiece")))
        return refuse(builder->error, FILE_NAME,
                      "the model's type is %.40s; weir supports WordPiece, which BERT has",
                      type_of(model));
    if (!(max_chars >= 1 && max_chars <= TOKENIZER_WORD_CHARS_MAX) ||
        max_chars != (uint32_t)max_chars)
        return refuse(builder->error, FILE_NAME,
                      "model.max_input_chars_per_word must be a whole number from 1 to %d",
                      TOKENIZER_WORD_CHARS_MAX);
    builder->files->max_chars_per_word = (uint32_t)max_chars;
    int result = read_string(builder, model, "unk_token", &builder->roles[ROLE_UNK].content);
    if (result == 0)
        result =
            read_string(builder, model, "continuing_subword_prefix", &builder->files->continuation);
    return result ? result : read_vocabulary(builder, model);
}

static int read_flag(struct tokenizer_builder *builder, const json_t *parent, const char *key,
                     bool *flag)
{
    const json_t *value = json_object_get(parent, key);
    if (!json_is_boolean(value))
        return refuse(builder->error, FILE_NAME, "normalizer.%s must be true or false", key);
    *flag = json_is_true(value);
    return 0;
}

static int read_bert_normalizer(struct tokenizer_builder *builder, const json_t *normalizer)
{
    struct tokenizer_files *files = builder->files;
    const json_t *strip_accents = json_object_get(normalizer, "strip_accents");
    int result = read_flag(builder, normalizer, "clean_text", &files->clean_text);
    if (result == 0)
        result =
            read_flag(builder, normalizer, "handle_chinese_chars", &files->handle_chinese_chars);
    if (result == 0)
        result = read_flag(builder, normalizer, "lowercase", &files->lowercase);
    files->strip_accents = files->lowercase;
    if (result == 0 && strip_accents && !json_is_null(strip_accents))
        result = read_flag(builder, normalizer, "strip_accents", &files->strip_accents);
    return result;
}

/* null normalizes nothing; a sequence may hold one BertNormalizer first, and Lowercase. */
static int read_normalizer(struct tokenizer_builder *builder, const json_t *normalizer)
{
    const json_t *list = json_object_get(normalizer, "normalizers");
    bool is_sequence = is_type(normalizer, "Sequence") && json_is_array(list);
    bool is_null = !normalizer || json_is_null(normalizer);
    size_t n_parts = is_sequence ? json_array_size(list) : !is_null;

    builder->normalizer_is_fixed = !is_null && !is_type(normalizer, "BertNormalizer");
    for (size_t i = 0; i < n_parts; i++) {
        const json_t *part = is_sequence ? json_array_get(list, i) : normalizer;
        int result = 0;
        if (is_type(part, "BertNormalizer") && i == 0)
            result = read_bert_normalizer(builder, part);
        else if (is_type(part, "Lowercase"))
            builder->files->lowercase = true;
        else
            result = refuse(builder->error, FILE_NAME,
                            "part %zu of the normalizer has type %.40s; weir supports "
                            "BertNormalizer, and Lowercase after it",
                            i + 1, type_of(part));
        if (result != 0)
            return result;
    }
    return 0;
}

static int check_pre_tokenizer(struct tokenizer_builder *builder, const json_t *pre_tokenizer)
{
    const json_t *list = json_object_get(pre_tokenizer, "pretokenizers");
    if (is_type(pre_tokenizer, "Sequence") && json_array_size(list) == 1)
        pre_tokenizer = json_array_get(list, 0);
    if (is_type(pre_tokenizer, "BertPreTokenizer"))
        return 0;
    return refuse(builder->error, FILE_NAME,
                  "the pre_tokenizer's type is %.40s; weir supports BertPreTokenizer",
                  type_of(pre_tokenizer));
}

/* One element of a template: {"SpecialToken": {"id": "[CLS]", "type_id": 0}}, or the same for a
 * sequence, whose id is A or B. */
struct template_part {
    enum tokenizer_role role; /* ROLE_CLS or ROLE_SEP of a special token */
    const char *sequence;     /* or NULL */
    double type_id;
};

static const struct template_part template_single[] = {
    {ROLE_CLS, NULL, 0}, {0, "A", 0}, {ROLE_SEP, NULL, 0}};
static const struct template_part template_pair[] = {
    {ROLE_CLS, NULL, 0}, {0, "A", 0}, {ROLE_SEP, NULL, 0}, {0, "B", 1}, {ROLE_SEP, NULL, 1}};

/* Whether `list` is the template of BERT. `names` are what [CLS] and [SEP] are called, by role;
 * NULL where not seen before. */
static bool matches_template(const json_t *list, const struct template_part *parts, size_t n_parts,
                             const char *names[TOKENIZER_N_ROLES])
{
    if (json_array_size(list) != n_parts)
        return false;
    for (size_t i = 0; i < n_parts; i++) {
        const json_t *part = json_object_get(json_array_get(list, i),
                                             parts[i].sequence ? "Sequence" : "SpecialToken");
        const char *id = json_string_value(json_object_get(part, "id"));
        const json_t *type_id = json_object_get(part, "type_id");
        if (!id || !json_is_number(type_id) || json_number_value(type_id) != parts[i].type_id)
            return false;
        if (!parts[i].sequence && !names[parts[i].role])
            names[parts[i].role] = id;
        if (strcmp(parts[i].sequence ? parts[i].sequence : names[parts[i].role], id) != 0)
            return false;
    }
    return true;
}

static int read_special_id(struct tokenizer_builder *builder, const char *name, const json_t *id,
                           uint32_t *out)
{
    double number = json_number_value(id);
    if (!json_is_number(id) || !tokenizer_builder_is_id(number))
        return refuse(builder->error, FILE_NAME,
                      "post_processor: \"%.60s\" must have one id, a whole number below %d", name,
                      TOKENIZER_IDS_MAX);
    *out = (uint32_t)number;
    return 0;
}

static int read_template(struct tokenizer_builder *builder, const json_t *processor)
{
    const char *names[TOKENIZER_N_ROLES] = {NULL};
    const json_t *specials = json_object_get(processor, "special_tokens");
    uint32_t *ids[] = {&builder->files->cls_id, &builder->files->sep_id};
    static const enum tokenizer_role roles[] = {ROLE_CLS, ROLE_SEP};
    if (!matches_template(json_object_get(processor, "single"), template_single,
                          ARRAY_COUNT(template_single), names) ||
        !matches_template(json_object_get(processor, "pair"), template_pair,
                          ARRAY_COUNT(template_pair), names))
        return refuse(builder->error, FILE_NAME,
                      "the post_processor's template is not BERT's, which is [CLS]:0 $A:0 [SEP]:0 "
                      "and, for pairs, [CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1");
    for (size_t i = 0; i < ARRAY_COUNT(roles); i++) {
        const json_t *list = json_object_get(json_object_get(specials, names[roles[i]]), "ids");
        const json_t *id = json_array_size(list) == 1 ? json_array_get(list, 0) : NULL;
        int result = read_special_id(builder, names[roles[i]], id, ids[i]);
        if (result != 0)
            return result;
    }
    return 0;
}

/* {"type": "BertProcessing", "sep": ["[SEP]", 102], "cls": ["[CLS]", 101]} */
static int read_bert_processing(struct tokenizer_builder *builder, const json_t *processor)
{
    const json_t *cls = json_array_get(json_object_get(processor, "cls"), 1);
    const json_t *sep = json_array_get(json_object_get(processor, "sep"), 1);
    int result = read_special_id(builder, "cls", cls, &builder->files->cls_id);
    return result ? result : read_special_id(builder, "sep", sep, &builder->files->sep_id);
}

static int read_post_processor(struct tokenizer_builder *builder, const json_t *processor)
{
    if (is_type(processor, "TemplateProcessing"))
        return read_template(builder, processor);
    if (is_type(processor, "BertProcessing"))
        return read_bert_processing(builder, processor);
    return refuse(builder->error, FILE_NAME,
                  "the post_processor's type is %.40s; weir supports TemplateProcessing and "
                  "BertProcessing, which add [CLS] and [SEP]",
                  type_of(processor));
}

static int read_added_tokens(struct tokenizer_builder *builder, const json_t *list)
{
    struct tokenizer_added_token token;
    int result = 0;
    if (list && !json_is_null(list) && !json_is_array(list))
        return refuse(builder->error, FILE_NAME, "added_tokens must be a list");
    tokenizer_builder_begin_added(builder);
    for (size_t i = 0; result == 0 && i < json_array_size(list); i++) {
        result = tokenizer_builder_token_from_json(builder, FILE_NAME, json_array_get(list, i),
                                                   false, &token);
        if (result == 0)
            result = tokenizer_builder_add_token(builder, FILE_NAME, &token);
    }
    return result;
}

/* Only the side: whether and where a text is cut is for the caller to say. */
static void read_truncation(struct tokenizer_builder *builder, const json_t *truncation)
{
    const char *direction = json_string_value(json_object_get(truncation, "direction"));
    builder->files->truncate_left = direction && strcmp(direction, "Left") == 0;
}

int tokenizer_json_apply(struct tokenizer_builder *builder, const json_t *root)
{
    int result = read_model(builder, json_object_get(root, "model"));
    if (result == 0)
        result = read_normalizer(builder, json_object_get(root, "normalizer"));
    if (result == 0)
        result = check_pre_tokenizer(builder, json_object_get(root, "pre_tokenizer"));
    if (result == 0)
        result = read_post_processor(builder, json_object_get(root, "post_processor"));
    if (result == 0)
        result = read_added_tokens(builder, json_object_get(root, "added_tokens"));
    read_truncation(builder, json_object_get(root, "truncation"));
    return result;
}
