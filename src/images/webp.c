/* WebP by libwebp; of an animation the first frame, on its canvas. */
#include <string.h>
#include <webp/decode.h>
#include <webp/demux.h>

#include "images/images.h"

static cr_status report(const struct image_source *source, VP8StatusCode code)
{
    if (code == VP8_STATUS_NOT_ENOUGH_DATA || code == VP8_STATUS_SUSPENDED)
        return images_truncated(source, "WebP");
    if (code == VP8_STATUS_OUT_OF_MEMORY)
        return cr_error_set(CR_ERROR_MEMORY, "out of memory while reading %s", source->name);
    if (code == VP8_STATUS_UNSUPPORTED_FEATURE)
        return images_damaged(source, "WebP", "it uses a feature that libwebp does not know");
    return images_damaged(source, "WebP", "its bitstream makes no sense");
}

static cr_status read_still(const struct image_source *source, const cr_image *image)
{
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config))
        return cr_error_set(CR_ERROR_STATE, "libwebp is of another version than its headers");
    config.output.colorspace = image->channels == 4 ? MODE_RGBA : MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = image->pixels;
    config.output.u.RGBA.stride = (int)(image->width * image->channels);
    config.output.u.RGBA.size = (size_t)image->height * (size_t)config.output.u.RGBA.stride;
    VP8StatusCode code = WebPDecode(source->data, source->size, &config);
    WebPFreeDecBuffer(&config.output);
    return code == VP8_STATUS_OK ? CR_OK : report(source, code);
}

/* The decoder of animations gives RGBA; without transparency the colours alone are taken. */
static void take_frame(const uint8_t *rgba, const cr_image *image)
{
    size_t count = (size_t)image->height * (size_t)image->width;
    uint8_t *to = image->pixels;
    for (size_t i = 0; i < count; i++, rgba += 4, to += image->channels)
        memcpy(to, rgba, (size_t)image->channels);
}

static cr_status read_first_frame(const struct image_source *source, const cr_image *image)
{
    WebPData data = { source->data, source->size };
    WebPAnimDecoderOptions options;
    if (!WebPAnimDecoderOptionsInit(&options))
        return cr_error_set(CR_ERROR_STATE, "libwebp is of another version than its headers");
    WebPAnimDecoder *decoder = WebPAnimDecoderNew(&data, &options);
    WebPAnimInfo info;
    uint8_t *frame = NULL;
    int time;
    bool good = decoder && WebPAnimDecoderGetInfo(decoder, &info) &&
                info.canvas_width == image->width && info.canvas_height == image->height &&
                WebPAnimDecoderGetNext(decoder, &frame, &time);
    if (good)
        take_frame(frame, image);
    else
        images_damaged(source, "WebP", "its first frame cannot be read");
    WebPAnimDecoderDelete(decoder);
    return cr_error_status();
}

static int find_orientation(const struct image_source *source)
{
    WebPData data = { source->data, source->size };
    WebPDemuxer *demuxer = WebPDemux(&data);
    WebPChunkIterator chunk = { 0 };
    int orientation = 1;
    if (demuxer && WebPDemuxGetChunk(demuxer, "EXIF", 1, &chunk))
        orientation = images_exif_orientation(chunk.chunk.bytes, chunk.chunk.size);
    WebPDemuxReleaseChunkIterator(&chunk);
    WebPDemuxDelete(demuxer);
    return orientation;
}

cr_status images_decode_webp(const struct image_source *source, struct image_result *result)
{
    WebPBitstreamFeatures features;
    VP8StatusCode code = WebPGetFeatures(source->data, source->size, &features);
    if (code != VP8_STATUS_OK)
        return report(source, code);
    if (images_take_size(source, result, features.width, features.height,
                         features.has_alpha ? 4 : 3) != CR_OK)
        return cr_error_status();
    result->orientation = find_orientation(source);
    if (!result->image)
        return CR_OK;
    return features.has_animation ? read_first_frame(source, result->image)
                                  : read_still(source, result->image);
}
