/* `cresset export --format c`: the model traced and written as a folder of C sources. */
#include <string.h>

#include "cli.h"
#include "cresset/plain_c.h"

const char *c_weights_words(int index)
{
    static const char *const words[] = {
        [CR_C_WEIGHTS_AUTO] = "auto", [CR_C_WEIGHTS_ARRAY] = "array", [CR_C_WEIGHTS_FILE] = "file"
    };
    return index < COUNT_OF(words) ? words[index] : NULL;
}

static cr_c_weights weights_of(const char *word)
{
    int index = 0;
    while (strcmp(c_weights_words(index), word) != 0)
        index++;
    return (cr_c_weights)index;
}

bool export_c(export_job *job)
{
    const export_settings *settings = job->args->settings;
    const cr_classifier *classifier = job->classifier;
    cr_c_report report = { 0 };
    cr_c_args args = { .name = job->onnx ? NULL : job->bound.architecture->name,
                       .weights = weights_of(settings->c_weights),
                       .lanes = (int)settings->lanes };
    if (classifier) {
        args.transforms = &classifier->transforms;
        args.class_names = classifier->class_names;
        args.class_count = classifier->class_count;
    }
    cr_graph *graph = export_trace(job, job->sample);
    bool good = graph && cr_graph_save_c(graph, job->path, args, &report) == CR_OK;
    cr_graph_free(graph);
    json_object_update_new(job->answer, json_pack("{s:I, s:I, s:I}", "arena_bytes",
                                                  (json_int_t)report.arena_bytes, "weight_bytes",
                                                  (json_int_t)report.weight_bytes, "calls",
                                                  (json_int_t)report.steps));
    if (good && !settings->json) {
        char weights[NUMBER_SIZE], arena[NUMBER_SIZE];
        printf("%s: C sources, %lld calls\nweights %s\n"
               "arena   %s, all the memory that a run needs besides input and output\n",
               job->path, (long long)report.steps,
               format_bytes(weights, (double)report.weight_bytes),
               format_bytes(arena, (double)report.arena_bytes));
    }
    return good;
}
