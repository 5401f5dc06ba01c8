/* Reading is three passes over jansson's tree: each entry by itself, then all in order of their
 * offsets, then sorted by name for the lookups. */
#include "models/safetensors.h"

#include "models/refuse.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define FILE_NAME "model.safetensors"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "safetensors are read as they lie");

#define METADATA_KEY "__metadata__"

#define DTYPE_NAME(name, bits) #name,
#define DTYPE_BITS(name, bits) bits,

static const char *const dtype_names[] = {SAFETENSORS_DTYPES(DTYPE_NAME)};
static const uint8_t dtype_bits[] = {SAFETENSORS_DTYPES(DTYPE_BITS)};

/* A JSON integer that is not negative. */
static bool read_u64(const json_t *value, uint64_t *number)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *number = (uint64_t)json_integer_value(value);
    return true;
}

static bool read_dtype(const json_t *value, enum safetensors_dtype *dtype)
{
    const char *name = json_string_value(value);

    for (int i = 0; name && i < SAFETENSORS_DTYPE_COUNT; i++)
        if (strcmp(name, dtype_names[i]) == 0) {
            *dtype = (enum safetensors_dtype)i;
            return true;
        }
    return false;
}

/* Fills shape and rank, and the bytes that they make; false on anything odd, overflow included. */
static bool read_shape(const json_t *value, struct safetensors_tensor *tensor, uint64_t *size_bytes)
{
    uint64_t n_bits = dtype_bits[tensor->dtype];

    if (!json_is_array(value) || json_array_size(value) > SAFETENSORS_RANK_MAX)
        return false;
    tensor->rank = (uint32_t)json_array_size(value);
    for (uint32_t i = 0; i < tensor->rank; i++)
        if (!read_u64(json_array_get(value, i), &tensor->shape[i]) ||
            __builtin_mul_overflow(n_bits, tensor->shape[i], &n_bits))
            return false;
    *size_bytes = n_bits / 8;
    return n_bits % 8 == 0;
}

static int read_tensor(const char *name, const json_t *entry, struct safetensors_tensor *tensor,
                       char error[ERROR_BYTES])
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    uint64_t size_bytes;

    tensor->name = name;
    if (!read_dtype(json_object_get(entry, "dtype"), &tensor->dtype))
        return refuse(error, FILE_NAME, "tensor %.80s has no dtype that the format knows", name);
    if (!read_shape(json_object_get(entry, "shape"), tensor, &size_bytes))
        return refuse(error, FILE_NAME, "tensor %.80s has no sound shape", name);
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 ||
        !read_u64(json_array_get(offsets, 0), &tensor->begin) ||
        !read_u64(json_array_get(offsets, 1), &tensor->end) || tensor->begin > tensor->end)
        return refuse(error, FILE_NAME, "tensor %.80s has no sound data_offsets", name);
    if (tensor->end - tensor->begin != size_bytes)
        return refuse(error, FILE_NAME, "tensor %.80s spans %llu bytes, but its shape makes %llu",
                      name, (unsigned long long)(tensor->end - tensor->begin),
                      (unsigned long long)size_bytes);
    return 0;
}

static int read_tensors(struct safetensors *file, char error[ERROR_BYTES])
{
    size_t n_entries = json_object_size(file->header);
    const char *name;
    json_t *entry;

    if (n_entries > SAFETENSORS_TENSORS_MAX)
        return refuse(error, FILE_NAME, "%zu tensors; weir reads files of at most %u", n_entries,
                      SAFETENSORS_TENSORS_MAX);
    file->tensors = calloc(n_entries + 1, sizeof(*file->tensors));
    if (!file->tensors) {
        refuse(error, FILE_NAME, "no memory for an index of %zu tensors", n_entries);
        return -ENOMEM;
    }
    json_object_foreach((json_t *)file->header, name, entry)
    {
        if (strcmp(name, METADATA_KEY) == 0)
            continue;
        int status = read_tensor(name, entry, &file->tensors[file->n_tensors++], error);
        if (status)
            return status;
    }
    return 0;
}

/* By offset; an empty tensor before the one that begins at the same byte. */
static int compare_offsets(const void *a, const void *b)
{
    const struct safetensors_tensor *left = a, *right = b;

    if (left->begin != right->begin)
        return left->begin < right->begin ? -1 : 1;
    return left->end < right->end ? -1 : left->end > right->end;
}

static int compare_names(const void *a, const void *b)
{
    const struct safetensors_tensor *left = a, *right = b;

    return strcmp(left->name, right->name);
}

/* One tensor directly after another, from the first byte of the data to the last. */
static int check_cover(struct safetensors *file, char error[ERROR_BYTES])
{
    uint64_t data_bytes = file->size_bytes - file->data_offset, end = 0;

    qsort(file->tensors, file->n_tensors, sizeof(*file->tensors), compare_offsets);
    for (uint32_t i = 0; i < file->n_tensors; i++) {
        const struct safetensors_tensor *tensor = &file->tensors[i];
        if (tensor->begin != end)
            return refuse(error, FILE_NAME,
                          "tensor %.80s begins at byte %llu, but the one before ends at %llu",
                          tensor->name, (unsigned long long)tensor->begin, (unsigned long long)end);
        end = tensor->end;
    }
    if (end != data_bytes)
        return refuse(error, FILE_NAME,
                      "the tensors need %llu bytes and the file has %llu: the download was cut or "
                      "damaged, fetch it again",
                      (unsigned long long)end, (unsigned long long)data_bytes);
    return 0;
}

static int read_header(struct safetensors *file, char error[ERROR_BYTES])
{
    json_error_t trouble;
    uint64_t header_bytes;

    if (file->size_bytes < SAFETENSORS_PREFIX_BYTES)
        return refuse(error, FILE_NAME, "%llu bytes are too few for a safetensors file",
                      (unsigned long long)file->size_bytes);
    memcpy(&header_bytes, file->bytes, sizeof(header_bytes));
    if (header_bytes > SAFETENSORS_HEADER_BYTES_MAX ||
        header_bytes > file->size_bytes - SAFETENSORS_PREFIX_BYTES)
        return refuse(error, FILE_NAME,
                      "the header would have %llu bytes in a file of %llu: not a safetensors file, "
                      "or the download was cut",
                      (unsigned long long)header_bytes, (unsigned long long)file->size_bytes);
    file->data_offset = SAFETENSORS_PREFIX_BYTES + header_bytes;
    file->header = json_loadb((const char *)file->bytes + SAFETENSORS_PREFIX_BYTES, header_bytes,
                              JSON_REJECT_DUPLICATES, &trouble);
    if (!file->header && !trouble.text[0]) { /* jansson has words for everything but this */
        refuse(error, FILE_NAME, "no memory to read the header");
        return -ENOMEM;
    }
    if (!json_is_object((json_t *)file->header))
        return refuse(error, FILE_NAME, "the header is no JSON object: %.120s",
                      file->header ? "another value" : trouble.text);
    return 0;
}

int safetensors_parse(struct safetensors *file, const void *bytes, uint64_t size_bytes,
                      char error[ERROR_BYTES])
{
    int status;

    *file = (struct safetensors){.bytes = bytes, .size_bytes = size_bytes};
    status = read_header(file, error);
    if (!status)
        status = read_tensors(file, error);
    if (!status)
        status = check_cover(file, error);
    if (status)
        safetensors_close(file);
    else
        qsort(file->tensors, file->n_tensors, sizeof(*file->tensors), compare_names);
    return status;
}

void safetensors_close(struct safetensors *file)
{
    free(file->tensors);
    json_decref(file->header);
    *file = (struct safetensors){0};
}

const struct safetensors_tensor *safetensors_find(const struct safetensors *file, const char *name)
{
    struct safetensors_tensor key = {.name = name};

    return bsearch(&key, file->tensors, file->n_tensors, sizeof(key), compare_names);
}

const char *safetensors_dtype_name(enum safetensors_dtype dtype)
{
    return dtype_names[dtype];
}
