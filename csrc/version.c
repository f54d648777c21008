/* SPDX-License-Identifier: BSD-3-Clause */
/* version.c -- the version, given by the build from pyproject.toml */
#include "daxcore.h"

#ifndef DAX_VERSION
#error "the build passes -DDAX_VERSION=\"x.y.z\""
#endif

const char *dax_version(void)
{
	return DAX_VERSION;
}
