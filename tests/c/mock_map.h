/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mock_map.h -- a block map that answers what a test wants it to
 *
 * Every iomap_begin() that returned 0 must be followed by one iomap_end() of
 * the same arguments; mock_is_paired() says whether that was so.  By default
 * byte n of the file is byte n of the device.
 */
#ifndef MOCK_MAP_H
#define MOCK_MAP_H

#include <errno.h>
#include <string.h>

#include "daxcore.h"
#include "tap.h"

struct mock;

typedef int (*mock_answer_fn)(struct mock *mock, dax_loff_t pos,
			      uint64_t length, unsigned int flags,
			      struct dax_iomap *iomap);

struct mock {
	mock_answer_fn answer;		/* NULL: byte n is byte n */
	struct dax_iomap fixed;		/* for mock_fixed */
	int ret;			/* what begin returns */
	int end_ret, truncate_ret, punch_ret, fallocate_ret;
	void (*inside)(struct mock *mock);	/* called from every callback */
	unsigned int fail_at;		/* this begin, from 1, returns -ENOTSUP */
	unsigned int begins, ends, answered, wrong;
	int64_t written;		/* of the last end */
	bool open;
	dax_loff_t pos;
	uint64_t length;
	unsigned int flags;
	struct dax_mapping *mapping;
	struct dax_vma *vma;
	int result[16];			/* of calls made inside */
};

static int mock_linear(struct mock *mock, dax_loff_t pos, uint64_t length,
		       unsigned int flags, struct dax_iomap *iomap)
{
	(void)mock;
	(void)flags;
	iomap->type = DAX_IOMAP_MAPPED;
	iomap->offset = pos;
	iomap->addr = (uint64_t)pos;
	iomap->length = length;
	return 0;
}

/* Answer with mock->fixed, whatever is asked. */
static inline int mock_fixed(struct mock *mock, dax_loff_t pos, uint64_t length,
			     unsigned int flags, struct dax_iomap *iomap)
{
	(void)pos;
	(void)length;
	(void)flags;
	*iomap = mock->fixed;
	return mock->ret;
}

static int mock_begin(struct dax_mapping *mapping, void *private_data,
		      dax_loff_t pos, uint64_t length, unsigned int flags,
		      struct dax_iomap *iomap)
{
	struct mock *mock = private_data;
	int ret;

	mock->wrong += mock->mapping && mapping != mock->mapping;
	mock->begins++;
	if (mock->inside)
		mock->inside(mock);
	if (mock->begins == mock->fail_at)
		return -ENOTSUP;
	ret = (mock->answer ? mock->answer : mock_linear)(mock, pos, length, flags, iomap);
	if (ret)
		return ret;
	mock->answered++;
	mock->wrong += mock->open;
	mock->open = true;
	mock->pos = pos;
	mock->length = length;
	mock->flags = flags;
	iomap->private_data = mock;
	return 0;
}

static int mock_end(struct dax_mapping *mapping, void *private_data,
		    dax_loff_t pos, uint64_t length, int64_t written,
		    unsigned int flags, struct dax_iomap *iomap)
{
	struct mock *mock = private_data;

	(void)mapping;
	mock->ends++;
	mock->wrong += !mock->open || pos != mock->pos ||
		       length != mock->length || flags != mock->flags ||
		       iomap->private_data != mock || written < 0 ||
		       (uint64_t)written > length;
	mock->open = false;
	mock->written = written;
	return mock->end_ret;
}

static int mock_truncate(struct dax_mapping *mapping, void *private_data,
			 dax_loff_t size)
{
	struct mock *mock = private_data;

	(void)mapping;
	(void)size;
	if (mock->inside)
		mock->inside(mock);
	return mock->truncate_ret;
}

static int mock_punch(struct dax_mapping *mapping, void *private_data,
		      dax_loff_t pos, uint64_t len)
{
	struct mock *mock = private_data;

	(void)mapping;
	(void)pos;
	(void)len;
	if (mock->inside)
		mock->inside(mock);
	return mock->punch_ret;
}

static int mock_fallocate(struct dax_mapping *mapping, void *private_data,
			  dax_loff_t pos, uint64_t len)
{
	struct mock *mock = private_data;

	(void)mapping;
	(void)pos;
	(void)len;
	if (mock->inside)
		mock->inside(mock);
	return mock->fallocate_ret;
}

static const struct dax_iomap_ops mock_ops = {
	.struct_size = sizeof(mock_ops),
	.iomap_begin = mock_begin,
	.iomap_end = mock_end,
	.truncate = mock_truncate,
	.punch = mock_punch,
	.fallocate = mock_fallocate,
};

static inline struct dax_mapping *mock_file(struct mock *mock,
					    struct dax_device *dev,
					    dax_loff_t size)
{
	struct dax_mapping_attr attr = {
		.struct_size = sizeof(attr), .size = size, .ops = &mock_ops,
		.private_data = mock,
	};

	MUST(!dax_mapping_new(&mock->mapping, dev, &attr));
	return mock->mapping;
}

static inline bool mock_is_paired(const struct mock *mock)
{
	return !mock->open && !mock->wrong && mock->ends == mock->answered;
}

#endif
