# Tests of the tokenizer: one program a source file, and the comparison with the reference.
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)

add_library(tokenizer_fixture STATIC tokenizer_fixture.c
            ${CMAKE_SOURCE_DIR}/tests/models/tiny_folder.c)
target_link_libraries(tokenizer_fixture PUBLIC weir_tokenizer PkgConfig::JANSSON)
target_compile_definitions(tokenizer_fixture PUBLIC WEIR_SOURCE_FOLDER="${CMAKE_SOURCE_DIR}")

foreach(name added cache chunks encode explain normalizer trie unicode words)
    weir_test(NAME test_tokenizer_${name} SOURCES test_tokenizer_${name}.c
              LIBRARIES tokenizer_fixture TIMEOUT 300)
endforeach()
weir_test(NAME test_tokenizer SOURCES test_tokenizer.c LIBRARIES tokenizer_fixture)
target_link_options(test_tokenizer PRIVATE -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc
                                           -Wl,--wrap=aligned_alloc -Wl,--wrap=free)

# The second is not a test: figures for whoever changes the tokenizer.
add_executable(tokenizer_tool tokenizer_tool.c)
add_executable(bench_tokenizer EXCLUDE_FROM_ALL bench_tokenizer.c)
foreach(program tokenizer_tool bench_tokenizer)
    target_link_libraries(${program} PRIVATE weir_tokenizer)
    set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endforeach()

# scripts/make_venvs makes this environment; without it both tests say that they are skipped.
set(WEIR_REFERENCE_PYTHON ${CMAKE_SOURCE_DIR}/build/venv/bin/python)
if(NOT EXISTS ${WEIR_REFERENCE_PYTHON})
    set(WEIR_REFERENCE_PYTHON /usr/bin/python3)
endif()
set(parity_tokenizer
    ${WEIR_REFERENCE_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/test_tokenizer_conformance.py
    $<TARGET_FILE:tokenizer_tool> ${CMAKE_SOURCE_DIR}/../shared/data/tokenizer)
# The same strings every day, so that red means a change of ours; others each night.
add_test(NAME parity_tokenizer COMMAND ${parity_tokenizer} --seed 1)
add_test(NAME parity_tokenizer_new_strings COMMAND ${parity_tokenizer} --strings 1000000)
add_test(NAME parity_tokenizer_unicode
         COMMAND ${WEIR_REFERENCE_PYTHON} ${CMAKE_SOURCE_DIR}/scripts/generate_tokenizer_unicode.py
                 --check ${CMAKE_SOURCE_DIR}/frontend/tokenizer_unicode_tables.inc)
set_tests_properties(parity_tokenizer parity_tokenizer_unicode
                     PROPERTIES TIMEOUT 600 SKIP_RETURN_CODE 77)
set_tests_properties(parity_tokenizer_new_strings
                     PROPERTIES TIMEOUT 3600 SKIP_RETURN_CODE 77 LABELS nightly)
