/* Names of files that no other test and no server uses, gone when the test ends, well or not. */
#ifndef WEIR_TESTS_SHM_OWN_PATH_H
#define WEIR_TESTS_SHM_OWN_PATH_H

/* A name in /dev/shm from the program, its pid and a running number. The file is not made; whatever
 * stands there is removed once the calling process and those that it forked have ended, however
 * they did. Call it first in a process with one thread. */
void own_path(char path[64]);

#endif
