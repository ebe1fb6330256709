/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* twinfold/twinfold.h - everything an embedder needs, in one include. */
#ifndef TWINFOLD_TWINFOLD_H
#define TWINFOLD_TWINFOLD_H

#include "twinfold/engine.h"
#include "twinfold/log.h"
#include "twinfold/ras.h"
#include "twinfold/stats.h"

#define TF_VERSION_MAJOR 0
#define TF_VERSION_MINOR 1
#define TF_VERSION_PATCH 0
#define TF_VERSION "0.1.0"

#endif
