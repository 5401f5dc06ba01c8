/* A calibration's file where there is no JSON library, as on many a machine with a card: the struct
 * as it is. Only gpu_check writes and reads it, on one machine. */
#include <errno.h>
#include <stdio.h>

#include "models/calibration.h"

uint32_t model_calibration_products(const struct model_config *config, uint32_t layer)
{
    return layer + 1 < config->n_layers ? MODEL_PRODUCT_COUNT : 1;
}

int model_calibration_read(struct model_calibration *calibration, const char *path,
                           const struct model *model, char error[ERROR_BYTES])
{
    FILE *file = fopen(path, "r");
    const size_t n = file != NULL ? fread(calibration, sizeof *calibration, 1, file) : 0;
    if (file != NULL)
        fclose(file);
    if (n == 1)
        return 0;
    snprintf(error, ERROR_BYTES, "no calibration can be read from %s", path);
    return -EIO;
}

int model_calibration_write(const struct model_calibration *calibration, const char *path,
                            const struct model_config *config, const char *fingerprint,
                            char error[ERROR_BYTES])
{
    FILE *file = fopen(path, "w");
    const size_t n = file != NULL ? fwrite(calibration, sizeof *calibration, 1, file) : 0;
    if (file != NULL && fclose(file) == 0 && n == 1)
        return 0;
    snprintf(error, ERROR_BYTES, "no calibration can be written to %s", path);
    return -EIO;
}
