# How kernel sources are compiled.
#   NAME.isa.c            once for each instruction set below, with CR_ISA_SUFFIX set to its word
#                         and CR_TARGET_<WORD> defined
#   NAME_<word>.c         (in src/kernels) once, with the flags of that instruction set
#   everything else       once, for the plain processor of the platform
set(CRESSET_ISAS portable)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
    list(APPEND CRESSET_ISAS avx2 avx512)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64|ARM64")
    list(APPEND CRESSET_ISAS neon)
endif()
set(CRESSET_FLAGS_portable "")
set(CRESSET_FLAGS_neon "") # every 64-bit ARM has it
set(CRESSET_FLAGS_avx2 -mavx2 -mfma -mf16c -mbmi -mbmi2)
set(CRESSET_FLAGS_avx512 -mavx2 -mfma -mf16c -mbmi -mbmi2 -mavx512f -mavx512bw -mavx512dq -mavx512vl
    -mprefer-vector-width=512)
# Sets that only some sources are written for, where the compiler knows them.
set(CRESSET_FLAGS_avx512_bf16 ${CRESSET_FLAGS_avx512} -mavx512bf16)
set(CRESSET_FLAGS_amx_bf16 ${CRESSET_FLAGS_avx512} -mamx-tile -mamx-bf16)
if(avx512 IN_LIST CRESSET_ISAS)
    include(CheckCCompilerFlag)
    check_c_compiler_flag(-mavx512bf16 CRESSET_COMPILES_AVX512_BF16)
    check_c_compiler_flag("-mamx-tile -mamx-bf16" CRESSET_COMPILES_AMX_BF16)
    if(CRESSET_COMPILES_AVX512_BF16)
        list(APPEND CRESSET_ISAS avx512_bf16)
    endif()
    if(CRESSET_COMPILES_AVX512_BF16 AND CRESSET_COMPILES_AMX_BF16)
        list(APPEND CRESSET_ISAS amx_bf16)
    endif()
endif()

# cresset_kernel_objects(OUT sources…): object libraries for the per-set sources; OUT gets their
# object expressions, and REST the sources to compile plainly.
function(cresset_kernel_objects out rest)
    set(objects "")
    set(plain ${ARGN})
    set(each ${ARGN})
    list(FILTER each INCLUDE REGEX "\\.isa\\.c$")
    list(FILTER plain EXCLUDE REGEX "\\.isa\\.c$")
    foreach(isa IN ITEMS portable neon avx2 avx512 avx512_bf16 amx_bf16)
        set(sources ${ARGN})
        list(FILTER sources INCLUDE REGEX "/kernels/.*_${isa}\\.c$")
        if(isa MATCHES "_bf16$")
            set(with_each "")
        else()
            set(with_each ${each})
        endif()
        list(FILTER plain EXCLUDE REGEX "/kernels/.*_${isa}\\.c$")
        if(NOT isa IN_LIST CRESSET_ISAS)
            continue()
        endif()
        if(sources OR with_each)
            add_library(cresset_kernels_${isa} OBJECT ${sources} ${with_each})
            target_compile_options(cresset_kernels_${isa} PRIVATE ${CRESSET_FLAGS_${isa}})
            string(TOUPPER ${isa} upper)
            target_compile_definitions(cresset_kernels_${isa} PRIVATE CR_ISA_SUFFIX=${isa}
                CR_TARGET_${upper}=1)
            target_include_directories(cresset_kernels_${isa} PRIVATE
                ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
            target_link_libraries(cresset_kernels_${isa} PRIVATE cresset_flags OpenMP::OpenMP_C)
            list(APPEND objects $<TARGET_OBJECTS:cresset_kernels_${isa}>)
        endif()
    endforeach()
    set(${out} ${objects} PARENT_SCOPE)
    set(${rest} ${plain} PARENT_SCOPE)
endfunction()

# cresset_embed(NAME LIST texts…): a source, appended to LIST, with the texts one after the other as
# the C string NAME.
function(cresset_embed name list)
    set(texts ${ARGN})
    list(TRANSFORM texts PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
    list(JOIN texts "|" joined)
    set(output ${CMAKE_CURRENT_BINARY_DIR}/${name}.c)
    add_custom_command(OUTPUT ${output} VERBATIM
        COMMAND ${CMAKE_COMMAND} -DNAME=${name} "-DINPUTS=${joined}" -DOUTPUT=${output}
            -P ${PROJECT_SOURCE_DIR}/cmake/EmbedText.cmake
        DEPENDS ${texts} ${PROJECT_SOURCE_DIR}/cmake/EmbedText.cmake)
    set(${list} ${${list}} ${output} PARENT_SCOPE)
endfunction()
