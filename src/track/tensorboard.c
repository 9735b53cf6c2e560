/* Event files as TensorBoard reads them: one record for each value. A record is the length of its
 * data, the masked CRC-32C of that length, the data, and their masked CRC-32C; the data are one
 * Event message (tensorflow/core/util/event.proto). Scalars and pictures use the fields that every
 * version reads; texts and histograms are tensors with the name of the plugin that shows them.
 *
 * A record goes out in one write, and a write that fails half way is taken back, so that the file
 * always ends with a whole record. How often to write, and what a failure means to a run, is left
 * to the caller. */
#include "cresset/tensorboard.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cresset/autograd.h"
#include "cresset/file.h"
#include "cresset/memory.h"
#include "cresset/pointwise.h"
#include "track.h"

/* Readers keep a record in a 32-bit length; no value of ours comes near. */
#define LARGEST_VALUE ((size_t)1 << 30)

#define HISTOGRAM_BUCKETS 30
#define MOST_FILES        1000000 /* of one second in one folder */
#define HOST_ROOM         256

/* The numbers of the fields. */
enum { EVENT_WALL_TIME = 1, EVENT_STEP, EVENT_FILE_VERSION, EVENT_SUMMARY = 5, EVENT_SESSION = 7 };
enum { SESSION_STATUS = 1, SESSION_START = 1 };
enum { SUMMARY_VALUE = 1 };
enum { VALUE_TAG = 1, VALUE_SIMPLE, VALUE_IMAGE = 4, VALUE_TENSOR = 8, VALUE_METADATA };
enum { IMAGE_HEIGHT = 1, IMAGE_WIDTH, IMAGE_COLORS, IMAGE_BYTES };
enum { TENSOR_DTYPE = 1, TENSOR_SHAPE, TENSOR_DOUBLES = 6, TENSOR_STRINGS = 8 };
enum { SHAPE_DIM = 2, DIM_SIZE = 1 };
enum { METADATA_PLUGIN = 1, METADATA_CLASS = 4, PLUGIN_NAME = 1 };
enum { CLASS_TENSOR = 2, DTYPE_DOUBLE = 2, DTYPE_STRING = 7 };

struct cr_tensorboard {
    int descriptor;
    off_t length; /* of the whole records */
    char *path;
};

/* --- Records -------------------------------------------------------------------------------- */

static cr_status system_error(const cr_tensorboard *board)
{
    return cr_error_set(CR_ERROR_IO, "cannot write %s: %s", board->path, strerror(errno));
}

/* A sum over data that hold sums themselves is weak; so readers and writers mask it. */
static uint32_t masked_sum(const void *bytes, size_t size)
{
    uint32_t crc = track_crc32c(bytes, size);
    return (crc >> 15 | crc << 17) + 0xA282EAD8;
}

static void store_little_endian(uint8_t *out, uint64_t value, int count)
{
    for (int i = 0; i < count; i++)
        out[i] = (uint8_t)(value >> 8 * i);
}

static cr_status write_bytes(cr_tensorboard *board, const char *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t written = write(board->descriptor, bytes + done, size - done);
        if (written >= 0) {
            done += (size_t)written;
        } else if (errno != EINTR) {
            cr_status status = system_error(board);
            if (ftruncate(board->descriptor, board->length) != 0)
                cr_error_prefix("its last record stays cut");
            return status;
        }
    }
    board->length += (off_t)size;
    return CR_OK;
}

/* Writes the event as one record, and frees it. */
static cr_status write_event(cr_tensorboard *board, cr_text *event)
{
    uint8_t head[12];
    uint8_t tail[4];
    store_little_endian(head, event->length, 8);
    store_little_endian(head + 8, masked_sum(head, 8), 4);
    store_little_endian(tail, masked_sum(event->data, event->length), 4);
    cr_text record = { 0 };
    cr_text_append_bytes(&record, head, sizeof(head));
    cr_text_append_bytes(&record, event->data, event->length);
    cr_text_append_bytes(&record, tail, sizeof(tail));
    if (!cr_failed())
        write_bytes(board, record.data, record.length);
    cr_text_free(&record);
    cr_text_free(event);
    return cr_error_status();
}

static double now(void)
{
    struct timespec clock;
    clock_gettime(CLOCK_REALTIME, &clock);
    return (double)clock.tv_sec + 1e-9 * (double)clock.tv_nsec;
}

/* --- The file ------------------------------------------------------------------------------- */

/* The name of this machine, as far as it can stand in the name of a file. */
static void host_name(char name[HOST_ROOM])
{
    if (gethostname(name, HOST_ROOM) != 0 || name[0] == '\0')
        snprintf(name, HOST_ROOM, "localhost");
    name[HOST_ROOM - 1] = '\0';
    for (char *slash = strchr(name, '/'); slash; slash = strchr(slash, '/'))
        *slash = '-';
}

/* Makes a file that nobody has, and sets the descriptor and the path. TensorBoard reads the files
 * of a folder in the order of their names. */
static cr_status create_file(cr_tensorboard *board, const char *folder)
{
    char host[HOST_ROOM];
    host_name(host);
    long long second = (long long)now();
    for (int number = 0; number < MOST_FILES; number++) {
        cr_free(board->path);
        board->path = cr_string_format("%s/events.out.tfevents.%010lld.%s.%ld.%d", folder, second,
                                       host, (long)getpid(), number);
        if (!board->path)
            return cr_error_status();
        board->descriptor =
            open(board->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
        if (board->descriptor >= 0)
            return CR_OK;
        if (errno != EEXIST)
            break;
    }
    return system_error(board);
}

cr_tensorboard *cr_tensorboard_open(const char *folder)
{
    if (cr_failed() || cr_folder_make(folder) != CR_OK)
        return NULL;
    cr_tensorboard *board = cr_alloc_zeroed(1, sizeof(*board));
    if (!board)
        return NULL;
    board->descriptor = -1;
    cr_text event = { 0 };
    track_put_double(&event, EVENT_WALL_TIME, now());
    track_put_string(&event, EVENT_FILE_VERSION, "brain.Event:2");
    if (create_file(board, folder) == CR_OK && write_event(board, &event) == CR_OK)
        return board;
    cr_text_free(&event);
    cr_tensorboard_close(board);
    return NULL;
}

const char *cr_tensorboard_path(const cr_tensorboard *board)
{
    return board ? board->path : "";
}

cr_status cr_tensorboard_close(cr_tensorboard *board)
{
    if (!board)
        return CR_OK;
    cr_status status = CR_OK;
    if (board->descriptor >= 0 && close(board->descriptor) != 0)
        status = system_error(board);
    cr_free(board->path);
    cr_free(board);
    return status;
}

cr_status cr_tensorboard_purge(cr_tensorboard *board, int64_t step)
{
    if (!board || cr_failed())
        return cr_error_status();
    cr_text session = { 0 };
    cr_text event = { 0 };
    track_put_int(&session, SESSION_STATUS, SESSION_START);
    track_put_double(&event, EVENT_WALL_TIME, now());
    track_put_int(&event, EVENT_STEP, step);
    track_put_message(&event, EVENT_SESSION, &session);
    return write_event(board, &event);
}

/* --- Values --------------------------------------------------------------------------------- */

/* Starts the message of a value; false if there is nothing to write or it makes no sense. */
static bool begin_value(cr_text *value, const cr_tensorboard *board, const char *tag,
                        double wall_time)
{
    *value = (cr_text){ 0 };
    if (!board || cr_failed())
        return false;
    if (!tag || !*tag) {
        cr_error_set(CR_ERROR_ARGUMENT, "TensorBoard: a value has no tag: give it a name");
        return false;
    }
    if (!isfinite(wall_time)) {
        cr_error_set(CR_ERROR_ARGUMENT,
                     "TensorBoard: the wall time of %s is not a number; 0 means now", tag);
        return false;
    }
    track_put_string(value, VALUE_TAG, tag);
    return true;
}

/* Writes the event of the value, and frees it. */
static cr_status end_value(cr_text *value, cr_tensorboard *board, int64_t step, double wall_time)
{
    cr_text summary = { 0 };
    cr_text event = { 0 };
    track_put_message(&summary, SUMMARY_VALUE, value);
    track_put_double(&event, EVENT_WALL_TIME, wall_time == 0 ? now() : wall_time);
    track_put_int(&event, EVENT_STEP, step);
    track_put_message(&event, EVENT_SUMMARY, &summary);
    return write_event(board, &event);
}

cr_status cr_tensorboard_scalar(cr_tensorboard *board, const char *tag, int64_t step, double value,
                                double wall_time)
{
    cr_text message;
    if (!begin_value(&message, board, tag, wall_time))
        return cr_error_status();
    track_put_float(&message, VALUE_SIMPLE, (float)value);
    return end_value(&message, board, step, wall_time);
}

static bool fits(const char *tag, size_t size)
{
    if (size <= LARGEST_VALUE)
        return true;
    cr_error_set(CR_ERROR_ARGUMENT, "TensorBoard: %s has %zu bytes, and the limit is %zu", tag,
                 size, LARGEST_VALUE);
    return false;
}

/* Which plugin shows the tensor of a value. Readers need it with the first value of a tag in a
 * file, so it stands with each. */
static void put_plugin(cr_text *value, const char *name)
{
    cr_text plugin = { 0 };
    cr_text metadata = { 0 };
    track_put_string(&plugin, PLUGIN_NAME, name);
    track_put_message(&metadata, METADATA_PLUGIN, &plugin);
    track_put_int(&metadata, METADATA_CLASS, CLASS_TENSOR);
    track_put_message(value, VALUE_METADATA, &metadata);
}

static void put_shape(cr_text *tensor, const int64_t *sizes, int count)
{
    cr_text shape = { 0 };
    for (int i = 0; i < count; i++) {
        cr_text dim = { 0 };
        track_put_int(&dim, DIM_SIZE, sizes[i]);
        track_put_message(&shape, SHAPE_DIM, &dim);
    }
    track_put_message(tensor, TENSOR_SHAPE, &shape);
}

cr_status cr_tensorboard_text(cr_tensorboard *board, const char *tag, int64_t step,
                              const char *text, double wall_time)
{
    cr_text value;
    if (!begin_value(&value, board, tag, wall_time))
        return cr_error_status();
    cr_text tensor = { 0 };
    text = text ? text : "";
    if (fits(tag, strlen(text))) {
        track_put_int(&tensor, TENSOR_DTYPE, DTYPE_STRING);
        put_shape(&tensor, (const int64_t[]){ 1 }, 1);
        track_put_string(&tensor, TENSOR_STRINGS, text);
    }
    track_put_message(&value, VALUE_TENSOR, &tensor);
    put_plugin(&value, "text");
    return end_value(&value, board, step, wall_time);
}

static uint32_t big_endian(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* The header of a PNG says its size and kind of colour; 0 if these bytes are none. Kinds are 1
 * grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha. */
static int png_colors(const uint8_t *png, size_t size)
{
    static const int by_type[] = { 1, 0, 3, 3, 2, 0, 4 };
    if (!png || size < 33 || memcmp(png, "\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16) != 0)
        return 0;
    uint8_t type = png[25];
    return type < sizeof(by_type) / sizeof(by_type[0]) ? by_type[type] : 0;
}

cr_status cr_tensorboard_image(cr_tensorboard *board, const char *tag, int64_t step,
                               const void *png, size_t size, double wall_time)
{
    cr_text value;
    if (!begin_value(&value, board, tag, wall_time))
        return cr_error_status();
    const uint8_t *bytes = png;
    int colors = png_colors(bytes, size);
    if (colors == 0) {
        cr_error_set(CR_ERROR_ARGUMENT, "TensorBoard: the picture %s is not a PNG file", tag);
    } else if (fits(tag, size)) {
        cr_text image = { 0 };
        track_put_int(&image, IMAGE_HEIGHT, big_endian(bytes + 20));
        track_put_int(&image, IMAGE_WIDTH, big_endian(bytes + 16));
        track_put_int(&image, IMAGE_COLORS, colors);
        track_put_bytes(&image, IMAGE_BYTES, bytes, size);
        track_put_message(&value, VALUE_IMAGE, &image);
    }
    return end_value(&value, board, step, wall_time);
}

/* Fills rows of left edge, right edge and count, and returns how many: none without a finite value,
 * one if all are equal. Widths are computed from shares of the edges, which cannot overflow. */
static int count_in_buckets(double rows[][3], const double *values, int64_t count)
{
    double low = INFINITY;
    double high = -INFINITY;
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(values[i]))
            continue;
        low = fmin(low, values[i]);
        high = fmax(high, values[i]);
    }
    if (low > high)
        return 0;
    int used = low < high ? HISTOGRAM_BUCKETS : 1;
    double width = used > 1 ? high / used - low / used : 1;
    for (int i = 0; i < used; i++) {
        rows[i][0] = used > 1 ? low + i * width : low - 0.5;
        rows[i][1] = i + 1 < used ? low + (i + 1) * width : high + (used > 1 ? 0 : 0.5);
        rows[i][2] = 0;
    }
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(values[i]))
            continue;
        double place = width > 0 ? values[i] / width - low / width : 0;
        rows[(int)fmax(0, fmin(place, used - 1))][2]++;
    }
    return used;
}

cr_status cr_tensorboard_histogram(cr_tensorboard *board, const char *tag, int64_t step,
                                   cr_tensor *values, double wall_time)
{
    cr_text value;
    if (!begin_value(&value, board, tag, wall_time))
        return cr_error_status();
    cr_frame frame = cr_frame_begin();
    cr_tensor *numbers = values ? cr_contiguous(cr_to_dtype(cr_detach(values), CR_F64)) : NULL;
    if (!cr_data(numbers) && (!values || cr_numel(values) > 0))
        cr_error_set(CR_ERROR_ARGUMENT, "TensorBoard: the tensor %s has no data to count", tag);
    double rows[HISTOGRAM_BUCKETS][3];
    int used = cr_failed() ? 0 : count_in_buckets(rows, cr_data(numbers), cr_numel(numbers));
    cr_frame_end(frame);
    cr_text tensor = { 0 };
    track_put_int(&tensor, TENSOR_DTYPE, DTYPE_DOUBLE);
    put_shape(&tensor, (const int64_t[]){ used, 3 }, 2);
    track_put_doubles(&tensor, TENSOR_DOUBLES, rows[0], 3 * (size_t)used);
    track_put_message(&value, VALUE_TENSOR, &tensor);
    put_plugin(&value, "histograms");
    return end_value(&value, board, step, wall_time);
}
