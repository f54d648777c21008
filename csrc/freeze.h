/* SPDX-License-Identifier: BSD-3-Clause */
/* freeze.h -- a file that nobody may change for a while; kernel: fs/super.c */
#ifndef DAXCORE_FREEZE_H
#define DAXCORE_FREEZE_H

#include "mapping.h"

/*
 * Sleep until the file is thawed.  Context: no lock of the file held.
 * Return: 0; -EINTR (a signal), -ENXIO (the device died).
 * Kernel: sb_start_write(), sb_start_pagefault().
 */
int freeze_wait(struct dax_mapping *mapping);

/* i_rwsem exclusive for a call that changes the file: not while it is frozen.
 * 0, -EINTR, -ENXIO, -EDEADLK, -ESTALE, -ENOMEM. */
int i_rwsem_lock_write(struct dax_mapping *mapping);

/* The calls of daxcore.h. */
int mapping_freeze(struct dax_mapping *mapping);
int mapping_thaw(struct dax_mapping *mapping);

#endif
