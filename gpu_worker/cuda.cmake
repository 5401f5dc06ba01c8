# The CUDA encoder: a module that the worker opens at run time, lib/weir_encoder_cuda.so.
#
# nvcc is called by hand rather than through CMake's CUDA language, because several toolkits must
# do: 13.0 on the PATH, and 12.8 or 12.9, whose binaries start on driver 535. Each kernel file
# leaves ptxas' report beside its object; tests/cuda holds it against a budget.
#
#   WEIR_CUDA_HOME      the toolkit; by default where nvcc is, else /usr/local/cuda
#   WEIR_CUDA_TARGETS   SASS for each of these, no PTX: nothing is left to the driver's compiler
set(WEIR_CUDA_TARGETS 80 86 89 90 120 CACHE STRING "GPU architectures the module carries")
find_program(WEIR_NVCC nvcc HINTS ${WEIR_CUDA_HOME}/bin /usr/local/cuda/bin)
find_path(WEIR_CUDA_INCLUDE cuda_runtime_api.h HINTS ${WEIR_CUDA_HOME}/include
          /usr/local/cuda/include)
find_library(WEIR_CUDART cudart_static HINTS ${WEIR_CUDA_HOME}/lib ${WEIR_CUDA_HOME}/lib64
             /usr/local/cuda/lib64)

set(WEIR_CUDA_FOLDER ${CMAKE_CURRENT_LIST_DIR} CACHE INTERNAL "where the CUDA sources are")
set(WEIR_CUDA_KERNELS kernels_float16 kernels_bfloat16 kernels_float32 kernels_fp8
    CACHE INTERNAL "kernel files")
set(sources)
foreach(source cuda_batch cuda_blas cuda_bucket cuda_choice cuda_error cuda_flight cuda_forward
               cuda_fp8 cuda_gemm cuda_graphs cuda_memory cuda_start cuda_trial
               cuda_trial_inputs cuda_tune cuda_weights encoder_cuda)
    list(APPEND sources ${WEIR_CUDA_FOLDER}/${source}.c)
endforeach()
set(WEIR_CUDA_HOST_SOURCES ${sources} CACHE INTERNAL "the host side of the CUDA encoder")

function(weir_cuda_module)
    set(gencode)
    foreach(target ${WEIR_CUDA_TARGETS})
        list(APPEND gencode -gencode arch=compute_${target},code=sm_${target})
    endforeach()
    set(objects)
    set(reports)
    file(GLOB headers CONFIGURE_DEPENDS ${WEIR_CUDA_FOLDER}/kernels/*)
    foreach(kernel ${WEIR_CUDA_KERNELS})
        set(object ${CMAKE_CURRENT_BINARY_DIR}/${kernel}.o)
        set(report ${CMAKE_CURRENT_BINARY_DIR}/${kernel}.ptxas.txt)
        add_custom_command(
            OUTPUT ${object} ${report}
            COMMAND ${WEIR_NVCC} -std=c++17 -O3 -Xcompiler -fPIC,-fvisibility=hidden -Xptxas -v
                    ${gencode} -I${CMAKE_SOURCE_DIR} -c ${WEIR_CUDA_FOLDER}/kernels/${kernel}.cu
                    -o ${object} > ${report} 2>&1 || sh -c "cat ${report}; exit 1"
            DEPENDS ${headers}
            COMMENT "nvcc ${kernel}.cu for ${WEIR_CUDA_TARGETS}"
            VERBATIM)
        list(APPEND objects ${object})
        list(APPEND reports ${report})
    endforeach()
    add_custom_target(weir_cuda_kernels DEPENDS ${objects})
    set_property(GLOBAL PROPERTY WEIR_PTXAS_REPORTS ${reports})
    set_property(GLOBAL PROPERTY WEIR_CUDA_OBJECTS ${objects})
    add_library(weir_encoder_cuda MODULE ${WEIR_CUDA_HOST_SOURCES} ${objects})
    add_dependencies(weir_encoder_cuda weir_cuda_kernels)
    target_include_directories(weir_encoder_cuda SYSTEM PRIVATE ${WEIR_CUDA_INCLUDE})
    target_link_libraries(weir_encoder_cuda PRIVATE weir_models weir_base ${WEIR_CUDART}
                          ${CMAKE_DL_LIBS} Threads::Threads rt)
    target_link_options(weir_encoder_cuda PRIVATE -Wl,--exclude-libs,ALL -Wl,-z,defs)
    set_target_properties(weir_encoder_cuda PROPERTIES PREFIX "" LINKER_LANGUAGE CXX
                          C_VISIBILITY_PRESET hidden
                          LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
endfunction()

if(WEIR_CUDA AND WEIR_NVCC AND WEIR_CUDA_INCLUDE AND WEIR_CUDART AND NOT WEIR_SANITIZE)
    weir_cuda_module()
else()
    message(STATUS "weir: no CUDA module (WEIR_CUDA=${WEIR_CUDA}, nvcc: ${WEIR_NVCC}, "
                   "sanitizers: \"${WEIR_SANITIZE}\")")
endif()
