/* The loader: makes batches of a data set, on threads of its own or in the caller's.
 *
 * Batches of an epoch are numbered. Batch b goes through slot b modulo the number of slots, so the
 * ring of slots bounds what is made ahead and delivers in order. A worker claims the next number
 * once its slot is free, makes the batch without the lock, and marks the slot ready; the consumer
 * waits for the slot of the number that is due. An error of a worker is kept in the slot as its
 * sentence and becomes the consumer's when its turn comes. Threads live from start to the end of
 * the epoch. What a batch holds is a function of its number alone, whoever makes it. */
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "cresset/profile.h"
#include "data/data.h"

#define DEFAULT_PREFETCH 2
#define MAX_WORKERS      256
#define MAX_PREFETCH     1024
#define MESSAGE_SIZE     1024
#define WHITE            255.0f /* the uint8 value that becomes 1 */

struct slot {
    bool is_ready;
    cr_batch batch; /* references of its own, unless it failed */
    cr_status status;
    char message[MESSAGE_SIZE];
};

struct cr_loader {
    cr_loader_args args;
    cr_transform_list transforms;
    cr_sampler *sampler; /* made for args.shuffle; NULL if args.sampler is used */
    cr_shape shape;      /* of a sample that comes out of the transforms */
    int64_t numel;       /* of a sample */

    /* the epoch; written only while no worker runs */
    uint64_t epoch;
    int64_t *order;
    int64_t start; /* position of batch 0 */
    int64_t batches;
    bool is_running;

    int64_t delivered; /* batches; written by the consumer, under the lock */

    pthread_mutex_t lock;
    pthread_cond_t slot_free;
    pthread_cond_t slot_ready;
    struct slot *slots;
    int slot_count;
    int64_t claimed; /* batches that were begun */
    bool is_stopping;
    pthread_t *threads;
    int thread_count; /* running */
};

/* ---- making a batch ---- */

/* The last two dimensions are height and width, those before them channels. */
static cr_sample sample_of_shape(const cr_shape *shape)
{
    cr_sample sample = { .channels = 1, .height = 1, .width = 1 };
    if (shape->ndim > 0)
        sample.width = shape->dim[shape->ndim - 1];
    if (shape->ndim > 1)
        sample.height = shape->dim[shape->ndim - 2];
    for (int i = 0; i < shape->ndim - 2; i++)
        sample.channels *= shape->dim[i];
    return sample;
}

/* Room that the samples of a batch use in turn. */
struct workspace {
    cr_image image;
    cr_image spare;
    uint8_t *raw; /* a uint8 sample that is no picture */
};

static void workspace_free(struct workspace *space)
{
    cr_image_free(&space->image);
    cr_image_free(&space->spare);
    cr_free(space->raw);
}

/* What the transforms want of a picture is known once its size is. */
struct picture_work {
    const cr_loader *loader;
    int64_t position; /* in the epoch */
    struct data_plan plan;
};

static void plan_picture(struct picture_work *work, int64_t height, int64_t width)
{
    const cr_loader *loader = work->loader;
    data_plan_make(
        &loader->transforms, height, width,
        data_generator(loader->args.seed, DATA_TRANSFORM, loader->epoch, (uint64_t)work->position),
        &work->plan);
}

static void choose_part(void *context, int64_t height, int64_t width, cr_image_box *box)
{
    struct picture_work *work = context;
    plan_picture(work, height, width);
    *box = data_plan_needs(&work->plan);
}

/* Random changes are keyed by the position in the epoch, so that a sample that comes several times
 * in it is changed anew each time. */
static cr_status make_picture(const cr_loader *loader, int64_t position, struct workspace *space,
                              float *out, int64_t *label)
{
    int64_t index = loader->order[position];
    cr_dataset *set = loader->args.data;
    struct picture_work work = { .loader = loader, .position = position };
    cr_image_wish wish = { choose_part, &work };
    cr_image_part part;
    if (cr_dataset_picture_part(set, index, &wish, &space->image, &part, label) != CR_OK)
        return cr_error_status();
    plan_picture(&work, part.height, part.width);
    if (data_transform_part(&loader->transforms, &work.plan, &part, &space->image, &space->spare,
                            loader->shape, out) != CR_OK)
        cr_error_prefix("sample %lld of %s", (long long)index, cr_dataset_name(set));
    return cr_error_status();
}

static cr_status make_tensor(const cr_loader *loader, int64_t position, struct workspace *space,
                             float *out, int64_t *label)
{
    int64_t index = loader->order[position];
    bool bytes = cr_dataset_dtype(loader->args.data) == CR_U8;
    void *target = bytes ? (void *)space->raw : (void *)out;
    if (cr_dataset_get(loader->args.data, index, target, label) != CR_OK)
        return cr_error_status();
    for (int64_t i = 0; bytes && i < loader->numel; i++)
        out[i] = (float)space->raw[i] / WHITE;
    cr_sample sample = sample_of_shape(&loader->shape);
    sample.data = out;
    cr_transform_apply(&loader->transforms, &sample, loader->args.seed, loader->epoch, position);
    return CR_OK;
}

/* Samples as float32, each into its place of the batch. */
static cr_status fill_batch(const cr_loader *loader, int64_t position, cr_batch *batch)
{
    bool pictures = cr_dataset_has_pictures(loader->args.data);
    struct workspace space = { .raw = pictures ? NULL : cr_alloc((size_t)loader->numel) };
    if (!pictures && !space.raw)
        return cr_error_status();
    float *samples = cr_data(batch->samples);
    int64_t *labels = cr_data(batch->labels);
    int64_t *indices = cr_data(batch->indices);
    cr_status status = CR_OK;
    for (int64_t i = 0; i < batch->size && status == CR_OK; i++) {
        float *out = samples + i * loader->numel;
        indices[i] = loader->order[position + i];
        status = pictures ? make_picture(loader, position + i, &space, out, &labels[i])
                          : make_tensor(loader, position + i, &space, out, &labels[i]);
    }
    workspace_free(&space);
    return status;
}

static cr_shape batch_shape(const cr_loader *loader, int64_t size)
{
    const cr_shape *sample = &loader->shape;
    cr_shape shape = { .ndim = sample->ndim + 1, .dim = { size } };
    memcpy(shape.dim + 1, sample->dim, (size_t)sample->ndim * sizeof *sample->dim);
    return shape;
}

static void release_batch(cr_batch *batch)
{
    cr_release(batch->samples);
    cr_release(batch->labels);
    cr_release(batch->indices);
    *batch = (cr_batch){ 0 };
}

/* Makes batch `number`, whose tensors the caller then owns. Runs in any thread. */
static cr_status make_batch(const cr_loader *loader, int64_t number, cr_batch *batch)
{
    int64_t position = loader->start + number * loader->args.batch_size;
    int64_t left = cr_loader_sample_count(loader) - position;
    cr_frame frame = cr_frame_begin();
    *batch = (cr_batch){ .size = CR_MIN(left, loader->args.batch_size) };
    batch->samples = cr_retain(cr_empty(batch_shape(loader, batch->size)));
    batch->labels = cr_retain(cr_empty(CR_SHAPE(batch->size), .dtype = CR_I64));
    batch->indices = cr_retain(cr_empty(CR_SHAPE(batch->size), .dtype = CR_I64));
    cr_frame_end(frame);
    cr_memory_tag(batch->samples, CR_MEMORY_INPUT);
    cr_status status = cr_error_status();
    cr_profile_range range = cr_profile_begin("data: making a batch");
    if (status == CR_OK)
        status = fill_batch(loader, position, batch);
    cr_profile_end(range);
    if (status != CR_OK)
        release_batch(batch);
    return status;
}

/* ---- workers ---- */

static struct slot *slot_of(const cr_loader *loader, int64_t number)
{
    return &loader->slots[number % loader->slot_count];
}

/* The number of a batch to make, once its slot is free; -1 when there is nothing left to do. */
static int64_t claim(cr_loader *loader)
{
    pthread_mutex_lock(&loader->lock);
    while (!loader->is_stopping && loader->claimed < loader->batches &&
           loader->claimed >= loader->delivered + loader->slot_count)
        pthread_cond_wait(&loader->slot_free, &loader->lock);
    bool done = loader->is_stopping || loader->claimed >= loader->batches;
    int64_t number = done ? -1 : loader->claimed++;
    pthread_mutex_unlock(&loader->lock);
    return number;
}

/* Moves the thread's error, if any, into the slot. */
static void keep_error(struct slot *slot, cr_status status)
{
    slot->status = status;
    slot->message[0] = '\0';
    if (status != CR_OK)
        strncat(slot->message, cr_error_message(), MESSAGE_SIZE - 1);
    cr_error_clear();
}

/* One thread a worker: its kernels stay in it. */
static void *work(void *context)
{
    cr_loader *loader = context;
    cr_set_num_threads(1);
    for (int64_t number = claim(loader); number >= 0; number = claim(loader)) {
        struct slot *slot = slot_of(loader, number);
        keep_error(slot, make_batch(loader, number, &slot->batch));
        pthread_mutex_lock(&loader->lock);
        slot->is_ready = true;
        pthread_cond_signal(&loader->slot_ready);
        pthread_mutex_unlock(&loader->lock);
    }
    cr_frame_end_all();
    return NULL;
}

/* Signals are for the threads of the program. */
static cr_status start_workers(cr_loader *loader)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int wanted = (int)CR_MIN((int64_t)loader->args.workers, loader->batches);
    int failure = 0;
    while (loader->thread_count < wanted && failure == 0) {
        failure = pthread_create(&loader->threads[loader->thread_count], NULL, work, loader);
        loader->thread_count += failure == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    /* Fewer threads than asked for make the same batches, only later. */
    if (failure != 0 && loader->thread_count == 0)
        return cr_error_set(CR_ERROR_STATE, "loader: no worker thread could be started: %s",
                            strerror(failure));
    return CR_OK;
}

void cr_loader_stop(cr_loader *loader)
{
    if (!loader)
        return;
    pthread_mutex_lock(&loader->lock);
    loader->is_stopping = true;
    pthread_cond_broadcast(&loader->slot_free);
    pthread_mutex_unlock(&loader->lock);
    for (int i = 0; i < loader->thread_count; i++)
        pthread_join(loader->threads[i], NULL);
    loader->thread_count = 0;
    for (int i = 0; i < loader->slot_count; i++) {
        release_batch(&loader->slots[i].batch);
        loader->slots[i].is_ready = false;
    }
    loader->is_running = false;
}

/* ---- the loader as a whole ---- */

static cr_status check_args(cr_loader_args *args)
{
    if (!args->data)
        return cr_error_set(CR_ERROR_ARGUMENT, "loader: there is no data set");
    if (args->batch_size == 0)
        args->batch_size = 1;
    if (args->prefetch == 0)
        args->prefetch = DEFAULT_PREFETCH;
    if (args->batch_size < 0)
        return cr_error_set(CR_ERROR_ARGUMENT, "loader: the batch size is %lld",
                            (long long)args->batch_size);
    if (args->workers < 0 || args->workers > MAX_WORKERS)
        return cr_error_set(CR_ERROR_ARGUMENT, "loader: there can be 0 to %d workers, not %d",
                            MAX_WORKERS, args->workers);
    if (args->prefetch < 0 || args->prefetch > MAX_PREFETCH)
        return cr_error_set(CR_ERROR_ARGUMENT, "loader: %d batches cannot be prefetched (0 to %d)",
                            args->prefetch, MAX_PREFETCH);
    if (args->sampler && args->shuffle)
        return cr_error_set(CR_ERROR_ARGUMENT, "loader: a sampler and shuffle exclude each other");
    return CR_OK;
}

/* The shape that all samples have after the transforms. */
static cr_status find_shape(cr_loader *loader)
{
    cr_dataset *set = loader->args.data;
    cr_shape own = cr_dataset_sample_shape(set);
    int64_t channels = sample_of_shape(&own).channels;
    if (data_transforms_fit(&loader->transforms, cr_dataset_has_pictures(set), channels) != CR_OK)
        return cr_error_status();
    loader->shape = cr_transform_shape(&loader->transforms, own);
    loader->numel = cr_shape_numel(&loader->shape);
    if (loader->shape.ndim == 3 && (loader->shape.dim[1] < 1 || loader->shape.dim[2] < 1) &&
        (own.dim[1] < 0 || own.dim[2] < 0))
        return cr_error_set(CR_ERROR_SHAPE,
                            "the pictures of %s differ in size; a transform has to give them one, "
                            "such as resize:224:224 or center_crop:224",
                            cr_dataset_name(set));
    return CR_OK;
}

/* What the loader allocates; freed by cr_loader_free, however far it came. */
static cr_status prepare(cr_loader *loader)
{
    const cr_loader_args *args = &loader->args;
    int64_t size = cr_dataset_size(args->data);
    if (find_shape(loader) != CR_OK)
        return cr_error_status();
    if (!args->sampler)
        loader->sampler = args->shuffle ? cr_sampler_random(size) : cr_sampler_sequential(size);
    if (cr_failed())
        return cr_error_status();
    const cr_sampler *sampler = args->sampler ? args->sampler : loader->sampler;
    loader->order = cr_alloc_array((size_t)cr_sampler_length(sampler), sizeof *loader->order);
    loader->slots = cr_alloc_zeroed((size_t)(args->workers * args->prefetch), sizeof(struct slot));
    loader->threads = cr_alloc_array((size_t)args->workers, sizeof *loader->threads);
    if (loader->slots)
        loader->slot_count = args->workers * args->prefetch;
    return cr_error_status();
}

cr_loader *cr_loader_new_with(cr_loader_args args)
{
    if (cr_failed() || check_args(&args) != CR_OK)
        return NULL;
    cr_loader *loader = cr_alloc_zeroed(1, sizeof *loader);
    if (!loader)
        return NULL;
    if (args.transforms)
        loader->transforms = *args.transforms;
    loader->args = args;
    loader->args.transforms = NULL;
    cr_dataset_retain(args.data);
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->slot_free, NULL);
    pthread_cond_init(&loader->slot_ready, NULL);
    if (prepare(loader) == CR_OK)
        return loader;
    cr_loader_free(loader);
    return NULL;
}

void cr_loader_free(cr_loader *loader)
{
    if (!loader)
        return;
    cr_loader_stop(loader);
    pthread_mutex_destroy(&loader->lock);
    pthread_cond_destroy(&loader->slot_free);
    pthread_cond_destroy(&loader->slot_ready);
    cr_sampler_free(loader->sampler);
    cr_dataset_free(loader->args.data);
    cr_free(loader->order);
    cr_free(loader->slots);
    cr_free(loader->threads);
    cr_free(loader);
}

static const cr_sampler *sampler_of(const cr_loader *loader)
{
    return loader->args.sampler ? loader->args.sampler : loader->sampler;
}

int64_t cr_loader_sample_count(const cr_loader *loader)
{
    if (!loader)
        return 0;
    int64_t length = cr_sampler_length(sampler_of(loader));
    return loader->args.drop_last ? length - length % loader->args.batch_size : length;
}

int64_t cr_loader_batch_count(const cr_loader *loader)
{
    return loader ? CR_DIV_UP(cr_loader_sample_count(loader), loader->args.batch_size) : 0;
}

/* An epoch that goes on from a position that is no multiple of the batch size (the size may have
 * been changed) has other batches; drop_last then looks at those. */
static int64_t batches_from(const cr_loader *loader, int64_t position)
{
    int64_t left = cr_loader_sample_count(loader) - position;
    return loader->args.drop_last ? left / loader->args.batch_size
                                  : CR_DIV_UP(left, loader->args.batch_size);
}

cr_status cr_loader_start(cr_loader *loader, uint64_t epoch, int64_t position)
{
    cr_loader_stop(loader);
    if (cr_failed())
        return cr_error_status();
    if (!loader)
        return cr_error_set(CR_ERROR_ARGUMENT, "there is no loader to start");
    if (position < 0 || position > cr_loader_sample_count(loader))
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "loader: an epoch has %lld samples and cannot begin at %lld",
                            (long long)cr_loader_sample_count(loader), (long long)position);
    if (cr_sampler_order(sampler_of(loader), loader->args.seed, epoch, loader->order) != CR_OK)
        return cr_error_status();
    loader->epoch = epoch;
    loader->start = position;
    loader->batches = batches_from(loader, position);
    loader->delivered = 0;
    loader->claimed = 0;
    loader->is_stopping = false;
    loader->is_running = true;
    if (start_workers(loader) != CR_OK)
        cr_loader_stop(loader);
    return cr_error_status();
}

cr_status cr_loader_resume(cr_loader *loader, cr_loader_state state)
{
    cr_loader_stop(loader);
    if (loader)
        loader->args.seed = state.seed;
    return cr_loader_start(loader, state.epoch, state.position);
}

/* Takes the batch that is due out of its slot, and frees the slot for the next round. */
static cr_status take_from_slot(cr_loader *loader, cr_batch *batch)
{
    struct slot *slot = slot_of(loader, loader->delivered);
    pthread_mutex_lock(&loader->lock);
    while (!slot->is_ready)
        pthread_cond_wait(&loader->slot_ready, &loader->lock);
    cr_status status = slot->status;
    *batch = slot->batch;
    slot->batch = (cr_batch){ 0 };
    slot->is_ready = false;
    if (status != CR_OK)
        cr_error_set(status, "%s", slot->message);
    loader->delivered++;
    pthread_cond_signal(&loader->slot_free);
    pthread_mutex_unlock(&loader->lock);
    return status;
}

static bool next_batch(cr_loader *loader, cr_batch *batch)
{
    if (!loader || !loader->is_running || cr_failed())
        return false;
    if (loader->delivered >= loader->batches) {
        cr_loader_stop(loader);
        return false;
    }
    cr_status status;
    if (loader->thread_count > 0)
        status = take_from_slot(loader, batch);
    else
        status = make_batch(loader, loader->delivered++, batch);
    if (status != CR_OK) {
        cr_loader_stop(loader);
        loader->delivered--; /* what failed was not delivered */
        return false;
    }
    /* Where adding to the frame fails, that reference is gone and the error stands. */
    batch->samples = cr_frame_add(batch->samples);
    batch->labels = cr_frame_add(batch->labels);
    batch->indices = cr_frame_add(batch->indices);
    if (cr_failed())
        *batch = (cr_batch){ 0 };
    return !cr_failed();
}

bool cr_loader_next(cr_loader *loader, cr_batch *batch)
{
    *batch = (cr_batch){ 0 };
    cr_profile_range range = cr_profile_begin("data: waiting");
    bool got = next_batch(loader, batch);
    cr_profile_end(range);
    return got;
}

cr_loader_state cr_loader_get_state(const cr_loader *loader)
{
    if (!loader)
        return (cr_loader_state){ 0 };
    int64_t position = loader->start + loader->delivered * loader->args.batch_size;
    return (cr_loader_state){ .seed = loader->args.seed,
                              .epoch = loader->epoch,
                              .position = CR_MIN(position, cr_loader_sample_count(loader)) };
}
