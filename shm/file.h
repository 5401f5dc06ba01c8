/* Files that are read at start or written whole: readers see the old one or the new one, never half
 * of one. What is in a file is its owner's matter.
 *
 * A path is somebody's input: a pipe, a device or a folder may stand there, or a file of any size.
 * So a reader opens it here, bounds the size that it is told, takes the memory, and reads.
 *
 * Includes nothing of ours. */
#ifndef WEIR_SHM_FILE_H
#define WEIR_SHM_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A path's length at most, with its end. */
#define FILE_PATH_BYTES_MAX 4096

/* Puts a file of these `size` bytes and this `mode` in the place of `path`, be there one or not:
 * written beside it under a name of its own, brought to the disk, renamed. Two that do so at once
 * do not mix, the later one stays. 0, or -errno: then what was there still is, and nothing else. */
int file_replace(const char *path, const void *bytes, size_t size, mode_t mode);

/* Opens a regular file to be read, without waiting for anybody, and says how large it is. A
 * descriptor for close(), or -errno; -EINVAL where something other than a regular file is there. */
int file_open(const char *path, uint64_t *size_bytes);

/* Reads from a descriptor of file_open() until there are `size` bytes or the file ends, which may
 * be shorter by now than it was. The number of bytes, or -errno. */
ssize_t file_read(int descriptor, void *bytes, size_t size);

#endif
