/* All operations; each family has a header of its own. */
#ifndef CRESSET_OPS_H
#define CRESSET_OPS_H

#include "cresset/activation.h"
#include "cresset/attention.h"
#include "cresset/convolution.h"
#include "cresset/creation.h"
#include "cresset/indexing.h"
#include "cresset/linear_algebra.h"
#include "cresset/loss.h"
#include "cresset/normalization.h"
#include "cresset/op.h"
#include "cresset/ordering.h"
#include "cresset/pointwise.h"
#include "cresset/pooling.h"
#include "cresset/quantized.h"
#include "cresset/recurrent.h"
#include "cresset/reduction.h"
#include "cresset/shaping.h"
#include "cresset/vision.h"

#endif
