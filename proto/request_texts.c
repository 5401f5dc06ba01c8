/* The texts of each dialect: one, a pair, a list, a list of objects.
 *
 *   sample   "text": "a" | ["a", "b"] | {"text","text_pair"} | [{"text","text_pair"}, ...]
 *            "text_pair": "b" | ["c", "d"], as long as "text"
 *   tei      "inputs": "a" | ["a"] | ["a", "b"] a pair | [["a"], ["a", "b"]] a batch
 *   vertex   "instances": ["a", {"text"}, {"inputs"}, {"content"}, ...]
 *   tokenize "inputs": "a" | ["a", "b"] a batch
 *
 * An empty string is a text, but as a "text_pair" it is no pair, as in the pipeline; an empty list
 * is none. */
#include "proto/request_reader.h"
#include "proto/utf8.h"

#include <string.h>

bool reader_note_text(struct reader *reader, const struct place *place, const struct value *value)
{
    char path[PATH_BYTES], other[PATH_BYTES];

    if (reader->text.value != NULL)
        return request_refuse(reader->error, REQUEST_MALFORMED,
                              "both \"%s\" and \"%s\": send one of them",
                              place_path(&reader->text.place, other), place_path(place, path));
    reader->text = (struct source){value, *place};
    return true;
}

bool reader_note_sequence(struct reader *reader, const struct place *place,
                          const struct value *value)
{
    reader->is_sequence = true;
    return reader_note_text(reader, place, value);
}

bool reader_note_pair(struct reader *reader, const struct place *place, const struct value *value)
{
    if (value->kind != VALUE_NULL)
        reader->pair = (struct source){value, *place};
    return true;
}

/* Vertex AutoML's clients say {"mimeType": "text/plain", "content": "..."}. */
static bool read_mime_type(struct reader *reader, const struct place *place,
                           const struct value *value)
{
    static const char plain[] = "text/plain";
    char path[PATH_BYTES];

    if (value->kind == VALUE_STRING && value_is_string(value, plain, sizeof(plain) - 1))
        return true;
    return request_refuse(reader->error, REQUEST_MALFORMED, "\"%s\" must be \"text/plain\"",
                          place_path(place, path));
}

static const struct field text_object_fields[] = {
    {"text", reader_note_text},
    {"text_pair", reader_note_pair},
};

static const struct field instance_fields[] = {
    {"text", reader_note_text},    {"inputs", reader_note_sequence},
    {"content", reader_note_text}, {"text_pair", reader_note_pair},
    {"mime_type", read_mime_type}, {"mimeType", read_mime_type},
};

static bool read_string(struct reader *reader, const struct place *place, const struct value *value,
                        const char **bytes, size_t *size)
{
    char path[PATH_BYTES];

    if (value->kind == VALUE_STRING_NOT_UTF8)
        return request_refuse(
            reader->error, REQUEST_INVALID, "\"%s\" is not UTF-8: see byte %zu of its %zu",
            place_path(place, path), utf8_find_invalid(value->bytes, value->size), value->size);
    if (value->kind != VALUE_STRING)
        return reader_refuse_kind(reader, place, "a string", value);
    *bytes = value->bytes;
    *size = value->size;
    return true;
}

/* How many texts a list holds, checked: at least one, at most the limit. 0: refused. */
static uint32_t count_texts(struct reader *reader, const struct place *place,
                            const struct value *list)
{
    char path[PATH_BYTES];

    if (list->size == 0) {
        request_refuse(reader->error, REQUEST_MALFORMED,
                       "\"%s\" is an empty list: send at least one text", place_path(place, path));
        reader->error->type = "Empty";
        return 0;
    }
    if (list->size > reader->limits->texts_max) {
        request_refuse(reader->error, REQUEST_INVALID,
                       "\"%s\" holds %zu texts, but one request may hold %u: send the rest in "
                       "further requests (--max-client-batch-size)",
                       place_path(place, path), list->size, reader->limits->texts_max);
        return 0;
    }
    return (uint32_t)list->size;
}

/* The request's next text, empty. There is room: count_texts() saw to it. */
static struct request_text *next_text(struct reader *reader)
{
    struct request_text *text = &reader->request->texts[reader->request->n_texts++];

    CHECK(reader->request->n_texts <= reader->limits->texts_max);
    *text = (struct request_text){0};
    return text;
}

static bool read_text(struct reader *reader, const struct place *place, const struct value *value)
{
    struct request_text *text = next_text(reader);

    return read_string(reader, place, value, &text->text, &text->text_bytes);
}

/* What came as "text_pair", if anything did. */
static bool read_pair(struct reader *reader, const struct source *pair, struct request_text *text)
{
    char path[PATH_BYTES];

    if (pair->value == NULL)
        return true;
    if (text->pair != NULL)
        return request_refuse(reader->error, REQUEST_MALFORMED,
                              "\"%s\" comes to a text that is a pair already: leave it out",
                              place_path(&pair->place, path));
    if (!read_string(reader, &pair->place, pair->value, &text->pair, &text->pair_bytes))
        return false;
    if (text->pair_bytes == 0)
        text->pair = NULL;
    return true;
}

static struct request_text *last_text(struct reader *reader)
{
    return &reader->request->texts[reader->request->n_texts - 1];
}

/* "a", ["a"], or a pair ["a", "b"]. */
static bool read_sequence(struct reader *reader, const struct place *place,
                          const struct value *value)
{
    char path[PATH_BYTES];
    struct place part = *place;
    uint32_t *index = part.item == PLACE_NONE ? &part.item : &part.part;

    if (value->kind != VALUE_LIST)
        return read_text(reader, place, value);
    if (value->size != 1 && value->size != 2)
        return request_refuse(reader->error, REQUEST_MALFORMED,
                              "\"%s\" holds %zu strings, but a text is [\"a\"] and a pair "
                              "[\"a\", \"b\"]: a batch is [[\"a\"], [\"b\"], ...]",
                              place_path(place, path), value->size);
    *index = 0;
    if (!read_text(reader, &part, value + 1))
        return false;
    *index = 1;
    struct request_text *text = last_text(reader);
    return value->size == 1 ||
           read_string(reader, &part, value_next(value + 1), &text->pair, &text->pair_bytes);
}

/* An object with a text, at `place`. */
static bool read_object(struct reader *reader, const struct place *place, const struct value *map,
                        const struct field *fields, size_t n_fields)
{
    char path[PATH_BYTES];

    reader->text.value = reader->pair.value = NULL;
    reader->is_sequence = false;
    if (!reader_fields(reader, place, map, fields, n_fields))
        return false;
    if (reader->text.value == NULL)
        return request_refuse(reader->error, REQUEST_MALFORMED, "\"%s\" has no field \"text\"",
                              place_path(place, path));
    reader_function *read = reader->is_sequence ? read_sequence : read_text;
    return read(reader, &reader->text.place, reader->text.value) &&
           read_pair(reader, &reader->pair, last_text(reader));
}

static bool read_sample_item(struct reader *reader, const struct place *place,
                             const struct value *item)
{
    if (item->kind == VALUE_MAP)
        return read_object(reader, place, item, text_object_fields,
                           ARRAY_COUNT(text_object_fields));
    return read_text(reader, place, item);
}

static bool read_instance(struct reader *reader, const struct place *place,
                          const struct value *item)
{
    if (item->kind == VALUE_MAP)
        return read_object(reader, place, item, instance_fields, ARRAY_COUNT(instance_fields));
    return read_text(reader, place, item);
}

static bool read_batch_item(struct reader *reader, const struct place *place,
                            const struct value *item)
{
    if (item->kind != VALUE_LIST)
        return reader_refuse_kind(reader, place, "a list of one or two strings", item);
    return read_sequence(reader, place, item);
}

/* A list of texts, each read by `read_item`. */
static bool read_list(struct reader *reader, const struct source *list, reader_function *read_item)
{
    struct place place = list->place;
    const struct value *item = list->value + 1;
    uint32_t n_texts;

    if (list->value->kind != VALUE_LIST)
        return reader_refuse_kind(reader, &place, "a list", list->value);
    n_texts = count_texts(reader, &place, list->value);
    if (n_texts == 0)
        return false;
    reader->request->is_list = true;
    for (place.item = 0; place.item < n_texts; place.item++, item = value_next(item))
        if (!read_item(reader, &place, item))
            return false;
    return true;
}

/* The list under "text_pair" comes to the list under "text". */
static bool read_pair_list(struct reader *reader, const struct source *list)
{
    struct predict_request *request = reader->request;
    struct source pair = {list->value + 1, list->place};

    if (list->value->kind != VALUE_LIST || list->value->size != request->n_texts)
        return request_refuse(reader->error, REQUEST_MALFORMED,
                              "\"text_pair\" must be a list of %u strings, as \"text\" is",
                              request->n_texts);
    for (uint32_t i = 0; i < request->n_texts; i++, pair.value = value_next(pair.value)) {
        pair.place.item = i;
        if (!read_pair(reader, &pair, &request->texts[i]))
            return false;
    }
    return true;
}

bool reader_sample_texts(struct reader *reader)
{
    struct source text = reader->text, pair = reader->pair;

    if (text.value->kind == VALUE_LIST)
        return read_list(reader, &text, read_sample_item) &&
               (pair.value == NULL || read_pair_list(reader, &pair));
    reader->request->is_object = text.value->kind == VALUE_MAP;
    return read_sample_item(reader, &text.place, text.value) &&
           read_pair(reader, &pair, last_text(reader));
}

/* Text Embeddings Inference refuses what says nothing; transformers' pipeline scores it. */
static bool refuse_empty_texts(struct reader *reader, struct place place)
{
    const struct predict_request *request = reader->request;
    char path[PATH_BYTES];

    for (uint32_t i = 0; i < request->n_texts; i++) {
        if (request->texts[i].text_bytes > 0 || request->texts[i].pair_bytes > 0)
            continue;
        if (request->is_list)
            place.item = i;
        request_refuse(reader->error, REQUEST_MALFORMED, "\"%s\" is empty: send a text",
                       place_path(&place, path));
        reader->error->type = "Empty";
        return false;
    }
    return true;
}

bool reader_tei_texts(struct reader *reader)
{
    struct source inputs = reader->text;
    bool is_list = inputs.value->kind == VALUE_LIST;
    bool is_batch = is_list && (inputs.value->size == 0 || inputs.value[1].kind == VALUE_LIST);
    bool is_read = is_batch ? read_list(reader, &inputs, read_batch_item)
                            : read_sequence(reader, &inputs.place, inputs.value);

    return is_read && refuse_empty_texts(reader, inputs.place);
}

bool reader_vertex_texts(struct reader *reader)
{
    struct source instances = reader->text;

    return read_list(reader, &instances, read_instance);
}

bool reader_tokenize_texts(struct reader *reader)
{
    struct source inputs = reader->text;

    if (inputs.value->kind == VALUE_LIST)
        return read_list(reader, &inputs, read_text);
    return read_text(reader, &inputs.place, inputs.value);
}
