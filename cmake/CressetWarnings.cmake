# The flags that every source of the project is compiled with.
add_library(cresset_flags INTERFACE)
target_compile_options(cresset_flags INTERFACE
    -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
    -fno-math-errno -fno-trapping-math -fno-strict-aliasing)
target_compile_definitions(cresset_flags INTERFACE _GNU_SOURCE)
if(CRESSET_WERROR)
    target_compile_options(cresset_flags INTERFACE -Werror)
endif()
if(CRESSET_SANITIZE)
    target_compile_options(cresset_flags INTERFACE
        -fsanitize=${CRESSET_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -g)
    target_link_options(cresset_flags INTERFACE -fsanitize=${CRESSET_SANITIZE})
endif()
