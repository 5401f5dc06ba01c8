/* Reads and writes a calibration's file; see calibration.h. */
#include "models/calibration.h"

#include "models/refuse.h"
#include "shm/file.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_BYTES_MAX 65536 /* 48 layers take 4 KB */
#define FILE_MODE      0644  /* it lies beside the model, for whoever serves that */
#define FORMAT_KEY     "weir_calibration"
#define MAKE_IT        "scripts/calibrate makes it"

uint32_t model_calibration_products(const struct model_config *config, uint32_t layer)
{
    return layer + 1 < config->n_layers ? MODEL_PRODUCT_COUNT : 1;
}

/* ---- reading ---- */

/* The whole file; its size, or -errno: -EFBIG for what is no such file at all. */
static ssize_t read_file(const char *path, char bytes[FILE_BYTES_MAX])
{
    uint64_t size_bytes;
    const int descriptor = file_open(path, &size_bytes);
    if (descriptor < 0)
        return descriptor == -EINVAL ? -EFBIG : descriptor;
    const ssize_t result =
        size_bytes <= FILE_BYTES_MAX ? file_read(descriptor, bytes, size_bytes) : -EFBIG;
    close(descriptor);
    return result;
}

static int read_layer(struct model_calibration *calibration, const char *path, const json_t *row,
                      uint32_t layer, uint32_t n_products, char error[ERROR_BYTES])
{
    if (!json_is_array(row) || json_array_size(row) != n_products)
        return refuse(error, path, "\"amax\" of layer %u must be %u numbers; " MAKE_IT, layer,
                      n_products);
    for (uint32_t i = 0; i < n_products; i++) {
        const json_t *value = json_array_get(row, i);
        const double amax = json_number_value(value);
        if (!json_is_number(value) || !(amax > 0.0) || amax > MODEL_CALIBRATION_AMAX_MAX)
            return refuse(error, path,
                          "\"amax\" of layer %u must be above 0 and at most %g; " MAKE_IT, layer,
                          MODEL_CALIBRATION_AMAX_MAX);
        calibration->amax[layer][i] = (float)amax;
    }
    return 0;
}

static int take(struct model_calibration *calibration, const char *path, const json_t *root,
                const struct model *model, char error[ERROR_BYTES])
{
    const json_t *format = json_object_get(root, FORMAT_KEY);
    const json_t *amax = json_object_get(root, "amax");
    const char *fingerprint = json_string_value(json_object_get(root, "model"));
    if (!json_is_integer(format) || json_integer_value(format) != MODEL_CALIBRATION_FORMAT)
        return refuse(error, path, "is no calibration of format %d; " MAKE_IT,
                      MODEL_CALIBRATION_FORMAT);
    if (fingerprint == NULL || strcmp(fingerprint, model->fingerprint) != 0)
        return refuse(error, path, "belongs to another model (%.32s, this is %s); " MAKE_IT,
                      fingerprint != NULL ? fingerprint : "unnamed", model->fingerprint);
    if (!json_is_array(amax) || json_array_size(amax) != model->config.n_layers)
        return refuse(error, path, "\"amax\" must have a row for each of %u layers; " MAKE_IT,
                      model->config.n_layers);
    calibration->n_texts = (uint64_t)json_integer_value(json_object_get(root, "n_texts"));
    for (uint32_t i = 0; i < model->config.n_layers; i++) {
        const int result = read_layer(calibration, path, json_array_get(amax, i), i,
                                      model_calibration_products(&model->config, i), error);
        if (result != 0)
            return result;
    }
    return 0;
}

int model_calibration_read(struct model_calibration *calibration, const char *path,
                           const struct model *model, char error[ERROR_BYTES])
{
    char *bytes = malloc(FILE_BYTES_MAX);
    json_error_t where;
    *calibration = (struct model_calibration){0};
    if (bytes == NULL) {
        refuse(error, path, "no memory to read it");
        return -ENOMEM;
    }
    const ssize_t size_bytes = read_file(path, bytes);
    json_t *root = size_bytes > 0
                       ? json_loadb(bytes, (size_t)size_bytes, JSON_REJECT_DUPLICATES, &where)
                       : NULL;
    int result = (int)size_bytes;
    if (size_bytes == -EFBIG)
        refuse(error, path, "is no file of at most %d bytes; " MAKE_IT, FILE_BYTES_MAX);
    else if (size_bytes < 0)
        refuse(error, path, "cannot be read: %s; " MAKE_IT, strerror((int)-size_bytes));
    else if (root == NULL)
        result = refuse(error, path, "is no JSON: cut off or damaged; " MAKE_IT);
    else
        result = take(calibration, path, root, model, error);
    json_decref(root);
    free(bytes);
    return result;
}

/* ---- writing ---- */

/* NULL: no memory. */
static json_t *to_json(const struct model_calibration *calibration,
                       const struct model_config *config, const char *fingerprint)
{
    json_t *amax = json_array();
    for (uint32_t layer = 0; layer < config->n_layers; layer++) {
        json_t *row = json_array();
        for (uint32_t i = 0; i < model_calibration_products(config, layer); i++)
            json_array_append_new(row, json_real((double)calibration->amax[layer][i]));
        json_array_append_new(amax, row);
    }
    return json_pack("{s:i, s:s, s:I, s:o}", FORMAT_KEY, MODEL_CALIBRATION_FORMAT, "model",
                     fingerprint, "n_texts", (json_int_t)calibration->n_texts, "amax", amax);
}

/* A line, like any text file's. */
static int write_line(const char *path, const json_t *root)
{
    char *text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(9));
    if (text == NULL)
        return -ENOMEM;
    const size_t length = strlen(text);
    text[length] = '\n'; /* over the end: bytes from here on */
    const int result = file_replace(path, text, length + 1, FILE_MODE);
    free(text);
    return result;
}

int model_calibration_write(const struct model_calibration *calibration, const char *path,
                            const struct model_config *config, const char *fingerprint,
                            char error[ERROR_BYTES])
{
    json_t *root = to_json(calibration, config, fingerprint);
    const int result = root != NULL ? write_line(path, root) : -ENOMEM;
    if (result != 0)
        refuse(error, path, "cannot be written: %s; name a file in a folder that weir may write",
               strerror(-result));
    json_decref(root);
    return result;
}
