/* Cresset: everything that libcresset offers. Charts and the report of a run (cresset/plot.h,
 * cresset/report.h) and event files (cresset/tensorboard.h) are in components of their own. */
#ifndef CRESSET_CRESSET_H
#define CRESSET_CRESSET_H

#include "cresset/array_file.h"
#include "cresset/autograd.h"
#include "cresset/classifier.h"
#include "cresset/conv_norm.h"
#include "cresset/data.h"
#include "cresset/error.h"
#include "cresset/explain.h"
#include "cresset/file.h"
#include "cresset/grad_scaler.h"
#include "cresset/idx.h"
#include "cresset/image.h"
#include "cresset/memory.h"
#include "cresset/metrics.h"
#include "cresset/models.h"
#include "cresset/nn.h"
#include "cresset/ops.h"
#include "cresset/optim.h"
#include "cresset/print.h"
#include "cresset/profile.h"
#include "cresset/random.h"
#include "cresset/safetensors.h"
#include "cresset/sequence_layers.h"
#include "cresset/state_dict.h"
#include "cresset/system.h"
#include "cresset/tar_file.h"
#include "cresset/tensor.h"
#include "cresset/text.h"
#include "cresset/thread.h"
#include "cresset/torch_file.h"
#include "cresset/train.h"
#include "cresset/transforms.h"
#include "cresset/weights.h"

#endif
