# Turns a file into a C source with its bytes:
#
#   cmake -DFILE=docs/openapi.json -DNAME=openapi_json -DHEADER=proto/openapi.h -DOUTPUT=openapi.c
#         -P embed.cmake
#
# No xxd and no objcopy, so that CMake is all a build needs.
file(READ ${FILE} hex HEX)
string(LENGTH "${hex}" size)
math(EXPR size "${size} / 2")
string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${hex}")
file(WRITE ${OUTPUT} "/* ${FILE}, made by embed.cmake. */
#include \"${HEADER}\"

const char ${NAME}[] = {
${bytes}'\\0'};
const size_t ${NAME}_size = ${size};
")
