/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pin.h -- look at a file's bytes where they are
 *
 * Kernel: mm/gup.c, pin_user_pages_fast(), unpin_user_pages_dirty_lock().
 */
#ifndef DAXCORE_PIN_H
#define DAXCORE_PIN_H

#include "mapping.h"

/* The calls of daxcore.h.  Context: no lock held. */
ssize_t pin_pages(struct dax_mapping *mapping, dax_loff_t pos, size_t len,
		  bool write, struct dax_pin *ret_pin);
int unpin_pages(struct dax_pin *pin, bool dirty);

#endif
