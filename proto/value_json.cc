// The only file that knows simdjson: bodies to the flat tree of value.h, and the fast UTF-8 check.
//
// Its DOM parser checks the whole document before the first value is seen (On Demand would leave
// what nobody asks for unchecked), in 0.1-0.5 ns a byte. Of its own it refuses lone surrogates,
// numbers out of range, control characters and trailing bytes; nesting and doubled keys are counted
// here.
#include "proto/value_json.h"
#include "proto/utf8.h"

#include <new>
#include <simdjson.h>

namespace dom = simdjson::dom;

namespace
{

// Smallest buffers: most bodies fit, so that a process takes memory once.
constexpr size_t CAPACITY_BYTES_MIN = 16384;

// simdjson sizes a document's string buffer at 5/3 of its capacity and more, and a body of n bytes
// uses at most 5/3 n (empty strings: 3 bytes of body, 5 of buffer). With 64 bytes of surplus
// capacity more than VALUE_PADDING_BYTES stay behind every string.
constexpr size_t CAPACITY_SURPLUS_BYTES = VALUE_PADDING_BYTES;

static_assert(simdjson::SIMDJSON_PADDING <= VALUE_PADDING_BYTES, "what it reads beyond a body");

} // namespace

struct json_decoder {
    dom::parser parser;
    dom::document document; // ours, or the parser would size it to each body exactly
    size_t depth_limit;     // simdjson's: it does not count as we do, and ours decides
};

namespace
{

value_status append(value_tree *tree, dom::element element, uint32_t depth);

value_status append_string(value_tree *tree, std::string_view text)
{
    value *string = value_append(tree, VALUE_STRING, text.size());
    if (string == nullptr)
        return VALUE_TOO_MANY;
    string->bytes = text.data();
    return VALUE_OK;
}

value_status append_list(value_tree *tree, dom::array items, uint32_t depth)
{
    if (depth == tree->depth_max)
        return VALUE_TOO_DEEP;
    value *list = value_append(tree, VALUE_LIST, items.size());
    if (list == nullptr)
        return VALUE_TOO_MANY;
    for (dom::element item : items) {
        value_status status = append(tree, item, depth + 1);
        if (status != VALUE_OK)
            return status;
    }
    return value_close(tree, list);
}

value_status append_map(value_tree *tree, dom::object fields, uint32_t depth)
{
    if (depth == tree->depth_max)
        return VALUE_TOO_DEEP;
    value *map = value_append(tree, VALUE_MAP, fields.size());
    if (map == nullptr)
        return VALUE_TOO_MANY;
    for (dom::key_value_pair field : fields) {
        value_status status = append_string(tree, field.key);
        if (status == VALUE_OK)
            status = append(tree, field.value, depth + 1);
        if (status != VALUE_OK)
            return status;
    }
    return value_close(tree, map);
}

value_status append_scalar(value_tree *tree, dom::element element)
{
    value *scalar = value_append(tree, VALUE_NULL, 0);
    if (scalar == nullptr)
        return VALUE_TOO_MANY;
    switch (element.type()) {
    case dom::element_type::BOOL:
        scalar->kind = VALUE_BOOLEAN;
        scalar->boolean = element.get_bool().value_unsafe();
        break;
    case dom::element_type::INT64:
        scalar->kind = VALUE_INTEGER;
        scalar->integer = element.get_int64().value_unsafe();
        break;
    case dom::element_type::UINT64:
    case dom::element_type::DOUBLE:
        scalar->kind = VALUE_REAL;
        scalar->real = element.get_double().value_unsafe();
        break;
    default:
        break;
    }
    return VALUE_OK;
}

// `depth` containers are open around the element; the recursion is bounded by depth_max.
value_status append(value_tree *tree, dom::element element, uint32_t depth)
{
    switch (element.type()) {
    case dom::element_type::STRING:
        return append_string(tree, element.get_string().value_unsafe());
    case dom::element_type::ARRAY:
        return append_list(tree, element.get_array().value_unsafe(), depth);
    case dom::element_type::OBJECT:
        return append_map(tree, element.get_object().value_unsafe(), depth);
    default:
        return append_scalar(tree, element);
    }
}

// Doubling, so that bodies that grow byte by byte do not reallocate each time.
simdjson::error_code reserve(json_decoder *decoder, size_t body_bytes)
{
    dom::parser &parser = decoder->parser;
    size_t needed = body_bytes + CAPACITY_SURPLUS_BYTES, capacity = CAPACITY_BYTES_MIN;
    simdjson::error_code code = simdjson::SUCCESS;

    while (capacity < needed)
        capacity *= 2;
    if (parser.capacity() < needed)
        code = parser.allocate(capacity, decoder->depth_limit);
    if (code == simdjson::SUCCESS && decoder->document.capacity() < needed)
        code = decoder->document.allocate(capacity);
    return code;
}

value_status status_of(simdjson::error_code code)
{
    switch (code) {
    case simdjson::SUCCESS:
        return VALUE_OK;
    case simdjson::EMPTY:
        return VALUE_EMPTY_BODY;
    case simdjson::UTF8_ERROR:
        return VALUE_BAD_UTF8;
    case simdjson::DEPTH_ERROR:
        return VALUE_TOO_DEEP;
    case simdjson::MEMALLOC:
    case simdjson::CAPACITY:
        return VALUE_NO_MEMORY;
    default:
        return VALUE_BAD_SYNTAX;
    }
}

} // namespace

json_decoder *json_decoder_create(uint32_t depth_max)
{
    json_decoder *decoder = new (std::nothrow) json_decoder;

    if (decoder == nullptr)
        return nullptr;
    decoder->depth_limit = size_t{depth_max} + 2;
    if (reserve(decoder, 0) == simdjson::SUCCESS)
        return decoder;
    delete decoder;
    return nullptr;
}

void json_decoder_destroy(json_decoder *decoder)
{
    delete decoder;
}

value_status json_decode(json_decoder *decoder, const char *body, size_t body_bytes,
                         value_tree *tree)
{
    tree->n_values = 0;
    tree->culprit_size = 0;
    tree->culprit = nullptr;
    if (reserve(decoder, body_bytes) != simdjson::SUCCESS)
        return VALUE_NO_MEMORY;
    dom::element root;
    simdjson::error_code code =
        decoder->parser.parse_into_document(decoder->document, body, body_bytes, false).get(root);
    return code == simdjson::SUCCESS ? append(tree, root, 0) : status_of(code);
}

bool utf8_is_valid(const char *bytes, size_t size)
{
    return simdjson::validate_utf8(bytes, size);
}
