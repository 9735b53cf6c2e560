/* --precision: the words, the dtype that autocast takes, and when a lower one is no faster. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "cresset/autograd.h"

static const struct {
    const char *word;
    cr_dtype dtype;
} precisions[] = { { "f32", CR_F32 }, { "bf16", CR_BF16 }, { "f16", CR_F16 } };

const char *precision_words(int index)
{
    return index < COUNT_OF(precisions) ? precisions[index].word : NULL;
}

cr_dtype precision_dtype(const char *word)
{
    for (int i = 0; i < COUNT_OF(precisions); i++) {
        if (strcmp(word, precisions[i].word) == 0)
            return precisions[i].dtype;
    }
    return CR_F32;
}

const char *precision_word(cr_dtype dtype)
{
    for (int i = 0; i < COUNT_OF(precisions); i++) {
        if (precisions[i].dtype == dtype)
            return precisions[i].word;
    }
    return cr_dtype_name(dtype);
}

const char *precision_caveat(cr_dtype dtype)
{
    if (dtype == CR_BF16 && cr_autocast_for_inference(dtype) != dtype)
        return "no faster than f32 here: the kernels in use have no bfloat16 instructions";
    if (dtype == CR_F16)
        return "no faster than f32: processors multiply float16 in float32";
    return NULL;
}

void print_inference_precision(cr_dtype dtype)
{
    const char *caveat = precision_caveat(dtype);
    if (cr_autocast_for_inference(dtype) != dtype)
        printf("computed in f32, since %s would be %s\n", precision_word(dtype), caveat);
    else if (dtype != CR_F32)
        printf("computed in %s%s%s\n", precision_word(dtype), caveat ? "; " : "",
               caveat ? caveat : "");
}
