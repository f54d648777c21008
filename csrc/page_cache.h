/* SPDX-License-Identifier: BSD-3-Clause */
/* page_cache.h -- the comparator: holes as they were before the zero page */
#ifndef DAXCORE_PAGE_CACHE_H
#define DAXCORE_PAGE_CACHE_H

#include "policy.h"

extern const struct dax_policy page_cache_policy;

#endif
