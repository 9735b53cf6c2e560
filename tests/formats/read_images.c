/* Reads pictures for test_images.py. On standard input come lines "CHANNELS PATH", or "png PATH
 * PATH" and "jpeg PATH PATH" to write the first as the second; the answer to each is "ok WIDTH
 * HEIGHT CHANNELS FORMAT SECONDS" and the pixels, or "error SECONDS MESSAGE". What leaks ends the
 * program. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cresset/image_file.h"
#include "cresset/memory.h"

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* A probe must tell what reading gives, and be refused only where reading is. */
static void compare_probe(const char *path, const cr_image *image, cr_image_info *info, bool good)
{
    cr_error_clear();
    bool probed = cr_image_probe(path, info) == CR_OK;
    if (good && (!probed || info->width != image->width || info->height != image->height)) {
        fprintf(stderr, "%s: the probe differs from the picture\n", path);
        exit(1);
    }
}

static void read_one(int channels, const char *path)
{
    char message[2048] = "";
    cr_image image = { 0 };
    cr_image_info info;
    double began = now();
    bool good = cr_image_read(path, channels, &image) == CR_OK;
    double seconds = now() - began;
    snprintf(message, sizeof message, "%s", cr_error_message());
    compare_probe(path, &image, &info, good);
    if (good && channels == 0 && info.channels != image.channels)
        exit(1);
    if (good) {
        printf("ok %d %d %d %s %.3f\n", (int)image.width, (int)image.height, image.channels,
               cr_image_format_name(info.format), seconds);
        fwrite(image.pixels, 1, (size_t)(image.width * image.height * image.channels), stdout);
    } else {
        printf("error %.3f %s\n", seconds, message);
    }
    cr_image_free(&image);
}

static void write_one(bool png, const char *from, const char *to)
{
    cr_image image = { 0 };
    if (cr_image_read(from, 0, &image) == CR_OK) {
        if (png)
            cr_image_write_png(to, &image);
        else
            cr_image_write_jpeg(to, &image, 90);
    }
    printf("%s 0 %s\n", cr_failed() ? "error" : "written", cr_error_message());
    cr_image_free(&image);
}

int main(void)
{
    char line[8192];
    while (fgets(line, sizeof line, stdin)) {
        uint64_t live = cr_memory_get_stats().small;
        line[strcspn(line, "\n")] = '\0';
        char *path = strchr(line, ' ');
        if (!path)
            return 2;
        *path++ = '\0';
        char *second = strchr(path, '\t');
        if (second)
            *second++ = '\0';
        if (second)
            write_one(strcmp(line, "png") == 0, path, second);
        else
            read_one(atoi(line), path);
        fflush(stdout);
        cr_error_clear();
        if (cr_memory_get_stats().small != live) {
            fprintf(stderr, "%s leaks\n", path);
            return 1;
        }
    }
    return 0;
}
