/* A file that readers see whole: the old one or the new one, never half of one.
 *
 * Includes nothing of ours; what is in a file, and how it is read, is its owner's matter. */
#ifndef WEIR_SHM_FILE_H
#define WEIR_SHM_FILE_H

#include <stddef.h>
#include <sys/types.h>

/* A path's length at most, with its end. */
#define FILE_PATH_BYTES_MAX 4096

/* Puts a file of these `size` bytes and this `mode` in the place of `path`, be there one or not:
 * written beside it under a name of its own, brought to the disk, renamed. Two that do so at once
 * do not mix, the later one stays. 0, or -errno: then what was there still is, and nothing else. */
int file_replace(const char *path, const void *bytes, size_t size, mode_t mode);

#endif
