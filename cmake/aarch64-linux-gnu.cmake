# Cross-compiles for 64-bit ARM with Debian's gcc-aarch64-linux-gnu:
#   cmake --toolchain cmake/aarch64-linux-gnu.cmake -S . -B build-arm64
# and runs what was built (tests, the command that writes its own manual) under qemu-user. What
# stands in CRESSET_ARM64_ROOT, if given, is the root of a Debian for ARM with the libraries that
# Cresset needs; Debian's packages of the architecture arm64 are found without.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

set(CRESSET_ARM64_ROOT "" CACHE PATH "The root of a Debian for 64-bit ARM, with libraries")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES CRESSET_ARM64_ROOT)
list(APPEND CMAKE_FIND_ROOT_PATH ${CRESSET_ARM64_ROOT} /usr/aarch64-linux-gnu /)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_IGNORE_PATH /usr/lib/x86_64-linux-gnu /lib/x86_64-linux-gnu)

# pkg-config describes the libraries of one architecture at a time.
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${CRESSET_ARM64_ROOT}")
set(ENV{PKG_CONFIG_LIBDIR}
    "${CRESSET_ARM64_ROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${CRESSET_ARM64_ROOT}/usr/share/pkgconfig")
if(CRESSET_ARM64_ROOT)
    set(folders ${CRESSET_ARM64_ROOT}/usr/lib/aarch64-linux-gnu:${CRESSET_ARM64_ROOT}/lib/aarch64-linux-gnu)
    string(APPEND CMAKE_EXE_LINKER_FLAGS_INIT " -Wl,-rpath-link,${folders}")
    string(APPEND CMAKE_SHARED_LINKER_FLAGS_INIT " -Wl,-rpath-link,${folders}")
    set(qemu_options -E LD_LIBRARY_PATH=${folders})
endif()

find_program(CRESSET_QEMU NAMES qemu-aarch64 qemu-aarch64-static)
if(CRESSET_QEMU)
    set(CMAKE_CROSSCOMPILING_EMULATOR ${CRESSET_QEMU} -L /usr/aarch64-linux-gnu ${qemu_options})
endif()
