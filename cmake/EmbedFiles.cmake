# Writes a C source with the bytes of files: cmake -D "FILES=…" -D OUTPUT=FILE -P EmbedFiles.cmake.
# Their names and types stand in the table `page_files` of src/serve/serve.h.
set(type_html "text/html; charset=utf-8")
set(type_css "text/css; charset=utf-8")
set(type_js "text/javascript; charset=utf-8")
set(type_svg "image/svg+xml")

set(arrays "")
set(rows "")
foreach(file IN LISTS FILES)
    get_filename_component(name ${file} NAME)
    string(REGEX REPLACE "^.*\\." "" ending ${name})
    string(MAKE_C_IDENTIFIER "bytes_of_${name}" array)
    file(READ ${file} hex HEX)
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
    string(APPEND arrays "static const unsigned char ${array}[] = { ${bytes} };\n")
    string(APPEND rows "    { \"${name}\", \"${type_${ending}}\", ${array}, sizeof ${array} },\n")
endforeach()
file(WRITE ${OUTPUT} "/* The files of the page; made by EmbedFiles.cmake. */\n#include \"serve/serve.h\"\n\n"
    "${arrays}\nconst page_file page_files[] = {\n${rows}    { NULL, NULL, NULL, 0 },\n};\n")
