/* Reads and writes the tune file; see cuda_tune.h. */
#include "gpu_worker/cuda_tune.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/file.h"
#include "shm/log.h"

#define FILE_MODE 0600 /* another user has a card, and a file, of his own */

#define COUNT_FIELD(field, words) +1
_Static_assert(sizeof(struct cuda_tune_key) == 128 + 4 * (CUDA_TUNE_KEY_FIELDS(COUNT_FIELD)),
               "padding would make equal keys differ");
_Static_assert(sizeof(struct cuda_tune_entry) == 80 &&
                   sizeof(cublasLtMatmulAlgo_t) == sizeof(((struct cuda_tune_entry *)0)->algorithm),
               "the entry's size is the file's");

/* A file in memory. */
struct image {
    unsigned char *bytes;
    size_t size;
};

static uint64_t checksum(const unsigned char *bytes, size_t size)
{
    return fnv1a_u64(FNV1A_START, bytes, size);
}

static uint32_t count_entries(const struct cuda_gemm *gemms, uint32_t n_gemms)
{
    uint32_t n_entries = 0;
    for (uint32_t i = 0; i < n_gemms; i++)
        n_entries += gemms[i].buckets->count;
    return n_entries;
}

static size_t body_bytes(uint32_t n_entries)
{
    return sizeof(struct cuda_tune_header) + n_entries * sizeof(struct cuda_tune_entry);
}

static struct cuda_tune_entry entry_of(const struct cuda_gemm *gemm, uint32_t bucket)
{
    struct cuda_tune_entry entry = {
        gemm->out_dim, gemm->in_dim, gemm->buckets->rows[bucket], gemm->epilogue, {0}};
    memcpy(entry.algorithm, &gemm->algorithms[bucket], sizeof entry.algorithm);
    return entry;
}

/* The file as this start would write it. NULL bytes: no memory. */
static struct image image_make(const struct cuda_tune_key *key, const struct cuda_gemm *gemms,
                               uint32_t n_gemms, bool own_ffn_is_fast)
{
    struct cuda_tune_header header = {.format = CUDA_TUNE_FORMAT,
                                      .n_entries = count_entries(gemms, n_gemms),
                                      .own_ffn_is_fast = own_ffn_is_fast,
                                      .key = *key};
    memcpy(header.magic, CUDA_TUNE_MAGIC, sizeof header.magic);
    const size_t size = body_bytes(header.n_entries);
    struct image image = {malloc(size + sizeof(uint64_t)), size + sizeof(uint64_t)};
    if (image.bytes == NULL)
        return image;
    unsigned char *next = memcpy(image.bytes, &header, sizeof header);
    next += sizeof header;
    for (uint32_t i = 0; i < n_gemms; i++)
        for (uint32_t bucket = 0; bucket < gemms[i].buckets->count; bucket++) {
            const struct cuda_tune_entry entry = entry_of(&gemms[i], bucket);
            memcpy(next, &entry, sizeof entry);
            next += sizeof entry;
        }
    const uint64_t sum = checksum(image.bytes, size);
    memcpy(next, &sum, sizeof sum);
    return image;
}

/* ---- load ---- */

/* Fills `bytes` with exactly `size` bytes of the file. 0, -errno, or -EMSGSIZE where it has another
 * size. */
static int read_exactly(const char *path, unsigned char *bytes, size_t size)
{
    uint64_t size_bytes;
    const int descriptor = file_open(path, &size_bytes);
    if (descriptor < 0)
        return descriptor == -EINVAL ? -EMSGSIZE : descriptor;
    const ssize_t n = size_bytes == size ? file_read(descriptor, bytes, size) : 0;
    close(descriptor);
    if (n < 0)
        return (int)n;
    return (size_t)n == size ? 0 : -EMSGSIZE;
}

/* What differs between the file's key and this start's; NULL: nothing. */
static const char *key_difference(const struct cuda_tune_key *theirs,
                                  const struct cuda_tune_key *ours)
{
    if (memcmp(theirs->card, ours->card, sizeof ours->card) != 0)
        return "card";
#define COMPARE_FIELD(field, words)   \
    if (theirs->field != ours->field) \
        return words;
    CUDA_TUNE_KEY_FIELDS(COMPARE_FIELD)
    return NULL;
}

/* Takes an entry where it is of this GEMM and bucket, and cuBLASLt has such an algorithm for it. */
static bool take_entry(const struct cuda_tune_entry *entry, const struct cuda_gemm_context *context,
                       struct cuda_gemm *gemm, const struct cuda_gemm_operands *operands,
                       uint32_t bucket)
{
    if (entry->out_dim != gemm->out_dim || entry->in_dim != gemm->in_dim ||
        entry->n_rows != gemm->buckets->rows[bucket] || entry->epilogue != gemm->epilogue)
        return false;
    memcpy(&gemm->algorithms[bucket], entry->algorithm, sizeof entry->algorithm);
    return cuda_gemm_accepts(context, gemm, operands, bucket);
}

static bool take_entries(const unsigned char *next, const struct cuda_gemm_context *context,
                         struct cuda_gemm *gemms, const struct cuda_gemm_operands *operands,
                         uint32_t n_gemms)
{
    for (uint32_t i = 0; i < n_gemms; i++)
        for (uint32_t bucket = 0; bucket < gemms[i].buckets->count; bucket++) {
            struct cuda_tune_entry entry;
            memcpy(&entry, next, sizeof entry);
            next += sizeof entry;
            if (!take_entry(&entry, context, &gemms[i], &operands[i], bucket))
                return false;
        }
    return true;
}

/* Why the file does not serve, in `why`; false where it does. */
static bool header_is_wrong(const struct image *image, const struct cuda_tune_key *key,
                            uint32_t n_entries, char why[ERROR_BYTES])
{
    struct cuda_tune_header header;
    uint64_t sum;
    memcpy(&header, image->bytes, sizeof header);
    memcpy(&sum, image->bytes + image->size - sizeof sum, sizeof sum);
    const char *difference = key_difference(&header.key, key);
    if (sum != checksum(image->bytes, image->size - sizeof sum))
        snprintf(why, ERROR_BYTES, "it is damaged: its checksum is wrong");
    else if (memcmp(header.magic, CUDA_TUNE_MAGIC, sizeof header.magic) != 0)
        snprintf(why, ERROR_BYTES, "it is no tune file");
    else if (header.format != CUDA_TUNE_FORMAT)
        snprintf(why, ERROR_BYTES, "it is of format %u, this program's is %d", header.format,
                 CUDA_TUNE_FORMAT);
    else if (difference != NULL)
        snprintf(why, ERROR_BYTES, "it was made for another %s", difference);
    else if (header.n_entries != n_entries)
        snprintf(why, ERROR_BYTES, "it has %u entries where %u are needed", header.n_entries,
                 n_entries);
    else if (header.own_ffn_is_fast > 1)
        snprintf(why, ERROR_BYTES, "it says neither yes nor no of our FFN GEMM");
    else
        return false;
    return true;
}

static bool load_image(const char *path, const struct image *image, const struct cuda_tune_key *key,
                       uint32_t n_entries, char why[ERROR_BYTES])
{
    const int result = read_exactly(path, image->bytes, image->size);
    if (result == -EMSGSIZE)
        snprintf(why, ERROR_BYTES, "it is no file of %zu bytes: cut off, or of other buckets",
                 image->size);
    else if (result != 0)
        snprintf(why, ERROR_BYTES, "%s", strerror(-result));
    return result == 0 && !header_is_wrong(image, key, n_entries, why);
}

static struct cuda_tune_header header_of(const struct image *image)
{
    struct cuda_tune_header header;
    memcpy(&header, image->bytes, sizeof header);
    return header;
}

/* The file, if it serves; else NULL bytes, and why. */
static struct image image_read(const char *path, const struct cuda_tune_key *key,
                               const struct cuda_gemm *gemms, uint32_t n_gemms,
                               char why[ERROR_BYTES])
{
    const uint32_t n_entries = count_entries(gemms, n_gemms);
    const size_t size = body_bytes(n_entries) + sizeof(uint64_t);
    struct image image = {malloc(size), size};
    snprintf(why, ERROR_BYTES, "no memory to read it");
    if (image.bytes != NULL && !load_image(path, &image, key, n_entries, why)) {
        free(image.bytes);
        image.bytes = NULL;
    }
    return image;
}

bool cuda_tune_says_own_ffn(const char *path, const struct cuda_tune_key *key,
                            const struct cuda_gemm *gemms, uint32_t n_gemms)
{
    char why[ERROR_BYTES];
    const struct image image = image_read(path, key, gemms, n_gemms, why);
    const bool says = image.bytes != NULL && header_of(&image).own_ffn_is_fast != 0;
    free(image.bytes);
    return says;
}

bool cuda_tune_load(const char *path, const struct cuda_tune_key *key,
                    const struct cuda_gemm_context *context, struct cuda_gemm *gemms,
                    const struct cuda_gemm_operands *operands, uint32_t n_gemms,
                    bool *own_ffn_is_fast)
{
    char why[ERROR_BYTES];
    const struct image image = image_read(path, key, gemms, n_gemms, why);
    bool loaded = image.bytes != NULL;
    if (loaded && !take_entries(image.bytes + sizeof(struct cuda_tune_header), context, gemms,
                                operands, n_gemms)) {
        snprintf(why, ERROR_BYTES, "it holds an algorithm that cuBLASLt does not accept here");
        loaded = false;
    }
    if (loaded) {
        *own_ffn_is_fast = header_of(&image).own_ffn_is_fast != 0;
        log_info("GEMM algorithms come from the tune file %s", path);
    } else {
        log_warning("the tune file %s is not used (%s): algorithms are timed and it is made anew",
                    path, why);
    }
    free(image.bytes);
    return loaded;
}

/* ---- save ---- */

bool cuda_tune_save(const char *path, const struct cuda_tune_key *key,
                    const struct cuda_gemm *gemms, uint32_t n_gemms, bool own_ffn_is_fast)
{
    const struct image image = image_make(key, gemms, n_gemms, own_ffn_is_fast);
    const int result =
        image.bytes != NULL ? file_replace(path, image.bytes, image.size, FILE_MODE) : -ENOMEM;
    free(image.bytes);
    if (result == 0)
        log_info("the timed choice of GEMM algorithms is in %s for the next start", path);
    else
        log_warning("the tune file %s cannot be written (%s): the next start times again; name a "
                    "file in a folder that weir may write in WEIR_CUDA_TUNE_FILE",
                    path, strerror(-result));
    return result == 0;
}
