/* Opening a folder: config.json, then the weights' file mapped and its tensors found by role, then
 * the fingerprint; and the widening of stored numbers to float32. */
#include "models/model.h"

#include "models/config.h"
#include "models/refuse.h"
#include "models/weights.h"
#include "shm/file.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONFIG_BYTES_MAX       (UINT64_C(4) << 20)
#define WEIGHTS_BYTES_MAX      (UINT64_C(1) << 40)
#define FINGERPRINT_PAGES      64
#define FINGERPRINT_PAGE_BYTES 4096

struct file {
    void *bytes;
    uint64_t size_bytes;
};

/* Adds where to look to a sentence that says what was wrong. */
static int in_folder(int status, const char *folder, char error[ERROR_BYTES])
{
    size_t length = strlen(error);

    if (status)
        snprintf(error + length, ERROR_BYTES - length, " [%s]", folder);
    return status;
}

static bool file_exists(const char *folder, const char *name)
{
    char path[FILE_PATH_BYTES_MAX];
    struct stat facts;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return stat(path, &facts) == 0 && S_ISREG(facts.st_mode);
}

/* What to do about a weights' file that is not there depends on what is there instead. */
static int refuse_missing_weights(const char *folder, char error[ERROR_BYTES])
{
    if (file_exists(folder, "model.safetensors.index.json"))
        refuse(error, "model.safetensors",
               "missing, the checkpoint is in several shards; load it in transformers and "
               "save_pretrained(folder, max_shard_size=\"100GB\")");
    else if (file_exists(folder, "pytorch_model.bin"))
        refuse(error, "model.safetensors",
               "missing, and weir reads no pickle (pytorch_model.bin); load it in transformers and "
               "save_pretrained(folder, safe_serialization=True)");
    else
        refuse(error, "model.safetensors",
               "missing; scripts/fetch_model gets a model from the Hub");
    return -ENOENT;
}

static int refuse_missing_config(const char *folder, char error[ERROR_BYTES])
{
    struct stat facts;

    if (stat(folder, &facts) == 0 && S_ISDIR(facts.st_mode))
        refuse(error, "config.json",
               "missing; --model-id takes a folder as it is downloaded from the Hub, and "
               "scripts/fetch_model gets one");
    else
        refuse(
            error, "--model-id",
            "no such folder; it takes a folder, not a Hub name: scripts/fetch_model ID gets one");
    return -ENOENT;
}

/* Maps a regular file read-only. 0 or -errno with a sentence. */
static int map_file(const char *folder, const char *name, uint64_t bytes_max, struct file *file,
                    char error[ERROR_BYTES])
{
    char path[FILE_PATH_BYTES_MAX];
    int descriptor, status = 0;

    *file = (struct file){0};
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, name) >= sizeof(path))
        return refuse(error, name, "the folder's path is longer than %u bytes",
                      FILE_PATH_BYTES_MAX);
    descriptor = file_open(path, &file->size_bytes);
    if (descriptor == -EINVAL)
        return refuse(error, name, "is not a regular file");
    if (descriptor < 0) {
        refuse(error, name, "cannot be read: %s", strerror(-descriptor));
        return descriptor;
    }
    if (file->size_bytes == 0 || file->size_bytes > bytes_max) {
        status = refuse(error, name, "has %llu bytes; weir reads 1 to %llu",
                        (unsigned long long)file->size_bytes, (unsigned long long)bytes_max);
    } else {
        file->bytes = mmap(NULL, file->size_bytes, PROT_READ, MAP_PRIVATE, descriptor, 0);
        if (file->bytes == MAP_FAILED) {
            status = -errno;
            refuse(error, name, "cannot be mapped: %s", strerror(-status));
        }
    }
    close(descriptor);
    return status;
}

/* The second half, of the weights: the size, all of the header, and pages spread evenly over the
 * rest. Reading a quarter of a megabyte instead of all keeps the start short. FNV-1a is not against
 * forgers: it tells apart models that somebody really has. */
static void add_weights(const struct safetensors *weights,
                        char fingerprint[MODEL_FINGERPRINT_BYTES])
{
    uint64_t data_bytes = weights->size_bytes - weights->data_offset;
    uint64_t page_bytes = min_u64(data_bytes, FINGERPRINT_PAGE_BYTES);
    uint64_t hash = fnv1a_u64(FNV1A_START, &weights->size_bytes, sizeof(weights->size_bytes));

    hash = fnv1a_u64(hash, weights->bytes, weights->data_offset);
    for (uint64_t i = 0; i < FINGERPRINT_PAGES; i++) {
        uint64_t offset = (data_bytes - page_bytes) * i / (FINGERPRINT_PAGES - 1);
        hash = fnv1a_u64(hash, weights->bytes + weights->data_offset + offset, page_bytes);
    }
    snprintf(fingerprint + MODEL_CONFIG_DIGITS, MODEL_FINGERPRINT_BYTES - MODEL_CONFIG_DIGITS,
             "%016llx", (unsigned long long)hash);
}

static int open_config(struct model *model, const char *folder, char error[ERROR_BYTES])
{
    struct file file;
    int status = map_file(folder, "config.json", CONFIG_BYTES_MAX, &file, error);

    memset(model, 0, sizeof(*model));
    if (status == -ENOENT || status == -ENOTDIR)
        return refuse_missing_config(folder, error);
    if (status)
        return status;
    status = config_parse(file.bytes, file.size_bytes, &model->config, &model->strings, error);
    snprintf(model->fingerprint, sizeof(model->fingerprint), "%016llx",
             (unsigned long long)fnv1a_u64(FNV1A_START, file.bytes, file.size_bytes));
    munmap(file.bytes, file.size_bytes);
    return status;
}

static int open_weights(struct model *model, const char *folder, char error[ERROR_BYTES])
{
    struct safetensors index;
    struct file file;
    int status = map_file(folder, "model.safetensors", WEIGHTS_BYTES_MAX, &file, error);

    if (status == -ENOENT)
        return refuse_missing_weights(folder, error);
    if (status)
        return status;
    model->mapping = file.bytes;
    model->mapping_bytes = file.size_bytes;
    status = safetensors_parse(&index, file.bytes, file.size_bytes, error);
    if (status)
        return status;
    status = weights_find(&index, &model->config, &model->weights, error);
    if (!status)
        add_weights(&index, model->fingerprint);
    safetensors_close(&index);
    return status;
}

int model_open_config(struct model *model, const char *folder, char error[ERROR_BYTES])
{
    return in_folder(open_config(model, folder, error), folder, error);
}

int model_open(struct model *model, const char *folder, char error[ERROR_BYTES])
{
    int status = open_config(model, folder, error);

    if (!status)
        status = open_weights(model, folder, error);
    if (status)
        model_close(model);
    return in_folder(status, folder, error);
}

void model_close(struct model *model)
{
    if (model->mapping)
        munmap(model->mapping, model->mapping_bytes);
    free(model->strings);
    memset(model, 0, sizeof(*model));
}

struct model_config model_config_without_labels(const struct model_config *config)
{
    struct model_config copy = *config;

    copy.labels = NULL;
    copy.label_is_number = NULL;
    return copy;
}

static float float_of_bits(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* Exact for every one of the 65536 values, and without a subnormal float in between, so also where
 * the processor flushes those to zero. No branch: the loop vectorizes. */
static float float_of_float16(uint16_t half)
{
    const uint32_t exponent_bias = (uint32_t)(127 - 15) << 23;
    uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13;
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    float subnormal = float_of_bits(magnitude + exponent_bias + (1u << 23)) - 0x1p-14f;
    uint32_t normal_bits =
        magnitude + exponent_bias + (magnitude >= 0x7c00u << 13 ? exponent_bias : 0);
    uint32_t subnormal_bits;

    memcpy(&subnormal_bits, &subnormal, sizeof(subnormal_bits));
    return float_of_bits((magnitude < 0x0400u << 13 ? subnormal_bits : normal_bits) | sign);
}

static uint16_t read_u16(const uint8_t *bytes)
{
    uint16_t value;

    memcpy(&value, bytes, sizeof(value));
    return value;
}

void model_tensor_to_float32(const struct model_tensor *tensor, uint32_t first_row, uint32_t n_rows,
                             float *out /* (n_rows, columns) */)
{
    uint64_t first = (uint64_t)first_row * tensor->columns;
    uint64_t count = (uint64_t)n_rows * tensor->columns;
    const uint8_t *bytes = tensor->data;

    CHECK((uint64_t)first_row + n_rows <= tensor->rows);
    switch (tensor->dtype) {
    case MODEL_FLOAT32:
        memcpy(out, bytes + first * sizeof(float), count * sizeof(float));
        break;
    case MODEL_FLOAT16:
        for (uint64_t i = 0; i < count; i++)
            out[i] = float_of_float16(read_u16(bytes + (first + i) * 2));
        break;
    case MODEL_BFLOAT16:
        for (uint64_t i = 0; i < count; i++)
            out[i] = float_of_bits((uint32_t)read_u16(bytes + (first + i) * 2) << 16);
        break;
    }
}
