/* models/safetensors.c: what a sound file gives, and that nothing else gets through. */
#include "models/safetensors.h"

#include "tests/models/tiny_folder.h"
#include "tests/proto/guard.h"
#include "tests/test.h"

#include <errno.h>

#define FLIPS 4000

/* Parses `file` at a guard page and expects a refusal that holds `words`. Frees the bytes. */
static void expect_refused(struct tiny_bytes file, const char *words)
{
    struct guard guard = guard_open(file.size_bytes);
    const char *guarded = guard_place(&guard, file.bytes, file.size_bytes, 0);
    char error[ERROR_BYTES] = "";
    struct safetensors index;

    EXPECT_EQUAL(safetensors_parse(&index, guarded, file.size_bytes, error), -EINVAL);
    if (!strstr(error, words)) {
        fprintf(stderr, "expected \"%s\" in: %s\n", words, error);
        exit(1);
    }
    EXPECT(!index.tensors && !index.header);
    guard_close(&guard);
    free(file.bytes);
}

static void expect_header_refused(const char *header, size_t data_bytes, const char *words)
{
    expect_refused(tiny_file(header, data_bytes), words);
}

static void a_sound_file_is_indexed_by_name(void)
{
    struct tiny_bytes file =
        tiny_file("{\"b\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[8,20]},"
                  "\"a\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]},"
                  "\"empty\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[8,8]},"
                  "\"scalar\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[20,24]}}      ",
                  24);
    char error[ERROR_BYTES] = "";
    struct safetensors index;
    const struct safetensors_tensor *b;

    EXPECT_EQUAL(safetensors_parse(&index, file.bytes, file.size_bytes, error), 0);
    EXPECT_EQUAL(index.n_tensors, 4);
    b = safetensors_find(&index, "b");
    EXPECT(b);
    EXPECT_EQUAL(b->dtype, SAFETENSORS_F16);
    EXPECT_EQUAL(b->rank, 2);
    EXPECT_EQUAL(b->shape[0], 2);
    EXPECT_EQUAL(b->shape[1], 3);
    EXPECT_EQUAL(b->begin, 8);
    EXPECT_EQUAL(b->end, 20);
    EXPECT_EQUAL(safetensors_find(&index, "scalar")->rank, 0);
    EXPECT(!safetensors_find(&index, "c"));
    EXPECT(!safetensors_find(&index, "__metadata__"));
    safetensors_close(&index);
    safetensors_close(&index);
    free(file.bytes);
}

static void every_dtype_of_the_format_is_known(void)
{
    for (int i = 0; i < SAFETENSORS_DTYPE_COUNT; i++) {
        char header[256], error[ERROR_BYTES] = "";
        static const int bits[] = {8,  8,  8,  8,  8,  8,  16, 16, 16, 16,
                                   32, 32, 32, 64, 64, 64, 64, 4,  6,  6};
        struct safetensors index;
        struct tiny_bytes file;
        snprintf(header, sizeof(header),
                 "{\"t\":{\"dtype\":\"%s\",\"shape\":[8],\"data_offsets\":[0,%d]}}",
                 safetensors_dtype_name((enum safetensors_dtype)i), bits[i]);
        file = tiny_file(header, (size_t)bits[i]);
        EXPECT_EQUAL(safetensors_parse(&index, file.bytes, file.size_bytes, error), 0);
        EXPECT_EQUAL(index.tensors[0].dtype, i);
        safetensors_close(&index);
        free(file.bytes);
    }
}

static void a_header_longer_than_the_file_or_the_limit_is_refused(void)
{
    const uint64_t sizes[] = {15, UINT64_MAX, UINT64_MAX - 7, INT64_MAX,
                              SAFETENSORS_HEADER_BYTES_MAX + 1};

    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct tiny_bytes file = tiny_file("{}            ", 0); /* 14 bytes of header */
        memcpy(file.bytes, &sizes[i], 8);
        expect_refused(file, "the header would have");
    }
}

static void a_header_that_is_no_object_is_refused(void)
{
    expect_header_refused("[]", 0, "the header is no JSON object: another value");
    expect_header_refused("{\"a\":", 0, "the header is no JSON object");
    expect_header_refused("{\"a\":1,\"a\":2}", 0, "duplicate");
    expect_header_refused("", 0, "the header is no JSON object");
    expect_header_refused("{} {}", 0, "the header is no JSON object");
}

static void an_entry_without_sound_parts_is_refused(void)
{
    expect_header_refused("{\"a\":1}", 0, "tensor a has no dtype");
    expect_header_refused("{\"a\":{\"dtype\":\"F33\",\"shape\":[],\"data_offsets\":[0,4]}}", 4,
                          "tensor a has no dtype that the format knows");
    expect_header_refused("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4,
                          "no sound shape");
    expect_header_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4,
                          "no sound shape");
    expect_header_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4,
                          "no sound shape");
    expect_header_refused(
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4,
        "no sound shape");
    expect_header_refused("{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1,
                          "no sound shape");
    expect_header_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4,
                          "no sound data_offsets");
    expect_header_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4,
                          "no sound data_offsets");
    expect_header_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4,
                          "no sound data_offsets");
}

static void a_shape_that_overflows_is_refused(void)
{
    /* 2^61 float32 make 2^66 bits; 2^32 x 2^32 elements are 2^64. */
    expect_header_refused(
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2305843009213693952],\"data_offsets\":[0,4]}}", 4,
        "no sound shape");
    expect_header_refused(
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
        "no sound shape");
    expect_header_refused(
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775808],\"data_offsets\":[0,4]}}", 4,
        "the header is no JSON object");
}

static void offsets_that_differ_from_the_shape_are_refused(void)
{
    expect_header_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
                          "tensor a spans 4 bytes, but its shape makes 8");
    expect_header_refused(
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,9223372036854775807]}}", 4,
        "tensor a spans 9223372036854775807 bytes, but its shape makes 4");
}

static void gaps_overlaps_and_ends_beyond_the_file_are_refused(void)
{
    expect_header_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                          "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
                          12, "tensor b begins at byte 4, but the one before ends at 8");
    expect_header_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                          "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
                          12, "tensor b begins at byte 8, but the one before ends at 4");
    expect_header_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8,
                          "tensor a begins at byte 4, but the one before ends at 0");
    expect_header_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7,
                          "the tensors need 8 bytes and the file has 7");
    expect_header_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9,
                          "the tensors need 8 bytes and the file has 9");
}

static void more_tensors_than_the_limit_are_refused(void)
{
    size_t room = (SAFETENSORS_TENSORS_MAX + 1) * 64, used = 0;
    char *header = malloc(room);

    EXPECT(header);
    for (uint32_t i = 0; i <= SAFETENSORS_TENSORS_MAX; i++)
        used += (size_t)sprintf(header + used, "%c\"%x\":{\"dtype\":\"U8\",\"shape\":[0]}",
                                i ? ',' : '{', i);
    strcpy(header + used, "}");
    expect_header_refused(header, 0, "65537 tensors; weir reads files of at most 65536");
    free(header);
}

static void every_prefix_of_a_sound_file_is_refused(void)
{
    struct tiny_bytes file = tiny_weights(MODEL_DISTILBERT, MODEL_FLOAT32, false);

    for (size_t size = 0; size < file.size_bytes; size++) {
        struct tiny_bytes prefix = {malloc(size + 1), size};
        EXPECT(prefix.bytes);
        memcpy(prefix.bytes, file.bytes, size);
        expect_refused(prefix, "model.safetensors: ");
    }
    free(file.bytes);
}

/* xorshift64: the seed is printed, so that a failure can be repeated. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* A tensor that is handed out lies in the file, whatever was flipped. */
static void flipped_bits_never_lead_out_of_the_file(void)
{
    struct tiny_bytes file = tiny_weights(MODEL_BERT, MODEL_FLOAT16, false);
    struct guard guard = guard_open(file.size_bytes);
    char *damaged = guard_place(&guard, file.bytes, file.size_bytes, 0);
    const char *wish = getenv("WEIR_TEST_SEED");
    uint64_t state = wish ? strtoull(wish, NULL, 10) : clock_now_ns() | 1;
    uint32_t n_accepted = 0;

    printf("WEIR_TEST_SEED=%" PRIu64 "\n", state);
    for (int i = 0; i < FLIPS; i++) {
        char error[ERROR_BYTES] = "";
        uint64_t bit = i < 64 ? (uint64_t)i : next_random(&state) % (file.size_bytes * 8);
        struct safetensors index;
        damaged[bit / 8] ^= (char)(1u << bit % 8);
        if (safetensors_parse(&index, damaged, file.size_bytes, error) == 0) {
            n_accepted++;
            for (uint32_t t = 0; t < index.n_tensors; t++)
                EXPECT(index.tensors[t].begin <= index.tensors[t].end &&
                       index.tensors[t].end <= file.size_bytes - index.data_offset);
            safetensors_close(&index);
        } else {
            EXPECT(error[0]);
        }
        damaged[bit / 8] ^= (char)(1u << bit % 8);
    }
    EXPECT(n_accepted > 0 && n_accepted < FLIPS);
    guard_close(&guard);
    free(file.bytes);
}

/* jansson takes some failures for a wrong token, and even drops a character; what counts here is
 * that each ends in a refusal and leaves nothing behind. */
static void every_failed_allocation_of_the_parser_ends_soundly(void)
{
    struct tiny_bytes file = tiny_weights(MODEL_DISTILBERT, MODEL_FLOAT32, false);
    int n = 0;

    do {
        char error[ERROR_BYTES] = "";
        struct safetensors index;
        int status;
        tiny_fail_allocation(++n);
        status = safetensors_parse(&index, file.bytes, file.size_bytes, error);
        EXPECT(!status == !error[0]);
        if (n == 1)
            EXPECT_STRING(error, "model.safetensors: no memory to read the header");
        safetensors_close(&index);
        EXPECT_EQUAL(tiny_allocations_held(), 0);
    } while (tiny_allocation_failed());
    tiny_fail_allocation(0);
    free(file.bytes);
}

int main(void)
{
    RUN(a_sound_file_is_indexed_by_name);
    RUN(every_dtype_of_the_format_is_known);
    RUN(a_header_longer_than_the_file_or_the_limit_is_refused);
    RUN(a_header_that_is_no_object_is_refused);
    RUN(an_entry_without_sound_parts_is_refused);
    RUN(a_shape_that_overflows_is_refused);
    RUN(offsets_that_differ_from_the_shape_are_refused);
    RUN(gaps_overlaps_and_ends_beyond_the_file_are_refused);
    RUN(more_tensors_than_the_limit_are_refused);
    RUN(every_prefix_of_a_sound_file_is_refused);
    RUN(flipped_bits_never_lead_out_of_the_file);
    RUN(every_failed_allocation_of_the_parser_ends_soundly);
    return 0;
}
