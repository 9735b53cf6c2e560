# Writes the texts INPUTS (separated by |) one after the other into OUTPUT as a C string NAME.
# Run as: cmake -DNAME=… -DINPUTS=… -DOUTPUT=… -P EmbedText.cmake
set(bytes "")
string(REPLACE "|" ";" INPUTS "${INPUTS}")
foreach(input IN LISTS INPUTS)
    file(READ ${input} hex HEX)
    string(APPEND bytes ${hex})
endforeach()
string(REGEX REPLACE "(................................)" "\\1\n    " bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUTPUT} "/* Made by EmbedText.cmake. */\nextern const char ${NAME}[];\nconst char ${NAME}[] = {\n    ${bytes} 0\n};\n")
