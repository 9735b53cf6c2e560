/* Writes one value of every kind to an event file in the folder given, and prints its path: what
 * test_events.py reads back. */
#include <math.h>
#include <stdio.h>

#include "cresset/tensorboard.h"

/* A picture of one grey pixel. */
static const unsigned char png[] = {
    0x89, 'P',  'N',  'G',  '\r', '\n', 0x1A, '\n', 0,    0,    0,    13,   'I',  'H',
    'D',  'R',  0,    0,    0,    1,    0,    0,    0,    1,    8,    0,    0,    0,
    0,    0x3A, 0x7E, 0x9B, 0x55, 0,    0,    0,    10,   'I',  'D',  'A',  'T',  0x78,
    0x9C, 0x63, 0x68, 0x00, 0x00, 0x00, 0x82, 0x00, 0x81, 0x77, 0xCD, 0x72, 0xB6, 0,
    0,    0,    0,    'I',  'E',  'N',  'D',  0xAE, 0x42, 0x60, 0x82,
};

int main(int count, char **words)
{
    if (count != 2)
        return 2;
    cr_tensorboard *board = cr_tensorboard_open(words[1]);
    const float numbers[] = { 0, 1, 1, 2, 3, NAN, INFINITY };
    printf("%s\n", cr_tensorboard_path(board));
    cr_tensorboard_purge(board, 7);
    cr_tensorboard_scalar(board, "loss/train", 7, 0.625, 1234.5);
    cr_tensorboard_scalar(board, "loss/train", INT64_C(1) << 40, -1e-3, 0);
    cr_tensorboard_scalar(board, "loss/train", 9, NAN, 1236);
    cr_tensorboard_text(board, "notes", 1, "# Größe\nwörtlich", 1);
    cr_tensorboard_image(board, "pixel", 2, png, sizeof(png), 2);
    cr_tensorboard_histogram(board, "weights", 3, cr_from_buffer(numbers, CR_SHAPE(7), CR_F32), 3);
    cr_tensorboard_histogram(board, "equal", 3, cr_full(4, CR_SHAPE(2, 3), .dtype = CR_I64), 3);
    cr_tensorboard_histogram(board, "empty", 3, cr_zeros(CR_SHAPE(0)), 3);
    cr_tensorboard_close(board);
    cr_frame_end_all();
    if (cr_failed())
        fprintf(stderr, "write_events: %s\n", cr_error_message());
    return cr_failed() ? 1 : 0;
}
