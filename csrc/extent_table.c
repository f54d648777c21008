/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * extent_table.c -- a block map that is a table of extents, made elsewhere
 *
 *   byte of the file >> shift --> index[]: row that holds the bucket's first byte
 *                                          ... the next one's: between the two
 *   rows[]: where each begins, in the file and on the device
 *
 * There are about twice as many buckets as rows, so that mostly one row is left
 * to choose from; a crowded bucket is halved.
 *
 * Owns: the table of a file.  Rows never change: another table takes its place.
 * Locks: replaced, and freed, with i_rwsem and invalidate_lock exclusive: nobody
 *        is between begin and the use of its answer then.
 * Kernel: fs/iomap (v4.14) has the interface; extents handed in as a whole are
 *         famfs's idea.
 */
#include "extent_table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "errormsg.h"
#include "invalidate.h"
#include "layout.h"
#include "writeback.h"

#define HOLE	UINT64_MAX	/* no address: not a multiple of a page */

/* It ends where the next one begins. */
struct row {
	uint64_t offset;	/* bytes in the file */
	uint64_t addr;		/* bytes on the device, or HOLE */
};

struct table {
	uint64_t nr_buckets;
	unsigned int shift;	/* 2^shift bytes of the file have a bucket */
	const struct row *behind;	/* the hole behind the last extent */
	size_t *index;		/* nr_buckets + 1 */
	struct row rows[];
};

struct extent_table {
	struct table *now;
};

/* ---- checking ---------------------------------------------------------------- */

static bool is_aligned(uint64_t bytes)
{
	return bytes % DAX_PAGE_SIZE == 0;
}

static int check_numbers(const struct dax_extent *row, size_t i)
{
	if (row->offset < 0)
		return dax_error(-EINVAL, "row %zu: offset %" PRId64 " is negative", i,
				 row->offset);
	if ((int64_t)row->length <= 0)
		return dax_error(-EINVAL, "row %zu: length %" PRId64 " is not above 0", i,
				 (int64_t)row->length);
	if (!is_aligned((uint64_t)row->offset) || !is_aligned(row->length))
		return dax_error(-EINVAL, "row %zu: offset %" PRId64 " and length %"
				 PRIu64 " must be multiples of 4096", i, row->offset,
				 row->length);
	if (row->length > (uint64_t)(DAX_MAX_SIZE - row->offset))
		return dax_error(-EINVAL, "row %zu: offset %" PRId64 " + length %" PRIu64
				 " is beyond 2^63-4096", i, row->offset, row->length);
	return 0;
}

static int check_type(const struct dax_extent *row, size_t i)
{
	if (row->type != DAX_IOMAP_HOLE && row->type != DAX_IOMAP_MAPPED)
		return dax_error(-EINVAL, "row %zu: type %" PRIu32 " is neither HOLE (0) "
				 "nor MAPPED (2)", i, row->type);
	if (row->flags)
		return dax_error(-EINVAL, "row %zu: flags %" PRIu32 " must be 0", i,
				 row->flags);
	return 0;
}

/* Of a MAPPED row. */
static int check_device(const struct dax_extent *row, size_t i,
			uint64_t device_size)
{
	if ((int64_t)row->device_offset < 0)
		return dax_error(-EINVAL, "row %zu: device offset %" PRId64
				 " is negative", i, (int64_t)row->device_offset);
	if (!is_aligned(row->device_offset))
		return dax_error(-EINVAL, "row %zu: device offset %" PRIu64
				 " must be a multiple of 4096", i, row->device_offset);
	if (row->device_offset > device_size ||
	    row->length > device_size - row->device_offset)
		return dax_error(-EINVAL, "row %zu: device offset %" PRIu64
				 " + length %" PRIu64 " is beyond the device of %" PRIu64
				 " bytes", i, row->device_offset, row->length,
				 device_size);
	return 0;
}

/* Rows follow one another: @end is where the one before ended. */
static int check_place(const struct dax_extent *row, size_t i, dax_loff_t end)
{
	if (row->offset > end)
		return dax_error(-EINVAL, "row %zu: offset %" PRId64 ", but bytes from %"
				 PRId64 " on are in no row (holes are rows too)", i,
				 row->offset, end);
	if (row->offset < end)
		return dax_error(-EINVAL, "row %zu: offset %" PRId64 " overlaps the row "
				 "before, which ends at byte %" PRId64, i, row->offset,
				 end);
	return 0;
}

static int check_row(const struct dax_extent *row, size_t i, dax_loff_t end,
		     uint64_t device_size)
{
	int ret = check_numbers(row, i);

	if (!ret)
		ret = check_type(row, i);
	if (!ret && row->type == DAX_IOMAP_MAPPED)
		ret = check_device(row, i, device_size);
	return ret ? ret : check_place(row, i, end);
}

/* What of the device a row has. */
struct piece {
	uint64_t addr, end;
	size_t row;
};

static int by_addr(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return (x->addr > y->addr) - (x->addr < y->addr);
}

static int check_pieces(struct piece *pieces, size_t nr)
{
	qsort(pieces, nr, sizeof(*pieces), by_addr);
	for (size_t i = 1; i < nr; i++)
		if (pieces[i].addr < pieces[i - 1].end)
			return dax_error(-EINVAL, "rows %zu and %zu overlap on the device: "
					 "bytes from %" PRIu64 " on are in both",
					 pieces[i - 1].row, pieces[i].row,
					 pieces[i].addr);
	return 0;
}

/* A byte of the device is one byte of the file: entries know their own leaves. */
static int check_overlap(const struct dax_extent *rows, size_t nr)
{
	struct piece *pieces = dax_zalloc((nr + 1) * sizeof(*pieces));
	size_t n = 0;
	int ret;

	if (!pieces)
		return dax_error(-ENOMEM, "no memory to check %zu extents", nr);
	for (size_t i = 0; i < nr; i++)
		if (rows[i].type == DAX_IOMAP_MAPPED)
			pieces[n++] = (struct piece){
				rows[i].device_offset,
				rows[i].device_offset + rows[i].length, i };
	ret = check_pieces(pieces, n);
	dax_free(pieces);
	return ret;
}

int extent_table_check(const struct dax_extent *rows, size_t nr,
		       dax_loff_t size, uint64_t device_size)
{
	dax_loff_t end = 0;

	for (size_t i = 0; i < nr; i++) {
		int ret = check_row(&rows[i], i, end, device_size);

		if (ret)
			return ret;
		end = rows[i].offset + (dax_loff_t)rows[i].length;
	}
	if (end < size)
		return dax_error(-EINVAL, "row %zu, the last one, ends at byte %" PRId64
				 ": the file has %" PRId64, nr ? nr - 1 : 0, end, size);
	return check_overlap(rows, nr);
}

/* ---- making -------------------------------------------------------------------- */

static uint64_t row_addr(const struct dax_extent *extent)
{
	return extent->type == DAX_IOMAP_MAPPED ? extent->device_offset : HOLE;
}

/* Does an extent go on where @row has come to, on the device too? */
static bool continues(const struct row *row, const struct dax_extent *extent)
{
	uint64_t addr = row_addr(extent);

	if (row->addr == HOLE || addr == HOLE)
		return row->addr == addr;
	return row->addr + ((uint64_t)extent->offset - row->offset) == addr;
}

/* What lies together is one row: 2 MiB of it may be mapped at once. */
static void fill_rows(struct table *table, const struct dax_extent *rows, size_t nr)
{
	struct row *row = table->rows;
	uint64_t end = 0;

	for (size_t i = 0; i < nr; i++) {
		if (i == 0 || !continues(row - 1, &rows[i]))
			*row++ = (struct row){ (uint64_t)rows[i].offset, row_addr(&rows[i]) };
		end = (uint64_t)rows[i].offset + rows[i].length;
	}
	row[0] = (struct row){ end, HOLE };
	row[1] = (struct row){ (uint64_t)INT64_MAX + 1, HOLE };
	table->behind = row;
}

static void fill_index(struct table *table)
{
	const struct row *row = table->rows;

	for (uint64_t i = 0; i <= table->nr_buckets; i++) {
		while (row < table->behind && row[1].offset <= i << table->shift)
			row++;
		table->index[i] = (size_t)(row - table->rows);
	}
}

/* In one piece: rows, the hole behind, the end, the index. */
static struct table *make_table(const struct dax_extent *rows, size_t nr)
{
	uint64_t end = nr ? (uint64_t)rows[nr - 1].offset + rows[nr - 1].length : 0;
	unsigned int shift = DAX_PAGE_SHIFT;
	struct table *table;
	uint64_t buckets;

	while (end >> shift > 2 * (uint64_t)nr)
		shift++;
	buckets = (end + ((uint64_t)1 << shift) - 1) >> shift;
	table = dax_zalloc(sizeof(*table) + (nr + 2) * sizeof(struct row) +
			   (buckets + 1) * sizeof(size_t));
	if (!table) {
		set_errormsg("no memory for a table of %zu extents", nr);
		return NULL;
	}
	table->shift = shift;
	table->nr_buckets = buckets;
	table->index = (size_t *)(void *)(table->rows + nr + 2);
	fill_rows(table, rows, nr);
	fill_index(table);
	return table;
}

int extent_table_new(struct extent_table **ret_table,
		     const struct dax_extent *rows, size_t nr)
{
	struct extent_table *table = dax_zalloc(sizeof(*table));

	if (!table)
		return dax_error(-ENOMEM, "no memory for a block map");
	table->now = make_table(rows, nr);
	if (!table->now) {
		dax_free(table);
		return -ENOMEM;
	}
	*ret_table = table;
	return 0;
}

void extent_table_destroy(struct extent_table *table)
{
	dax_free(table->now);
	dax_free(table);
}

static void extent_table_free(struct dax_mapping *mapping, void *private_data)
{
	(void)mapping;
	extent_table_destroy(private_data);
}

/* ---- asking ---------------------------------------------------------------------- */

/* The last of some rows that begins at or before @pos. */
static __attribute__((noinline)) const struct row *
last_before(const struct row *first, const struct row *last, uint64_t pos)
{
	while (first < last) {
		const struct row *mid = first + (last - first + 1) / 2;

		if (mid->offset <= pos)
			first = mid;
		else
			last = mid - 1;
	}
	return first;
}

static inline const struct row *find_row(const struct table *table, uint64_t pos)
{
	uint64_t bucket = pos >> table->shift;
	size_t first, last;

	if (unlikely(bucket >= table->nr_buckets))
		return table->behind;
	first = table->index[bucket];
	last = table->index[bucket + 1];
	if (likely(first == last))
		return table->rows + first;
	return last_before(table->rows + first, table->rows + last, pos);
}

/* A store to a hole.  Of 2 MiB it may be some pages that are: those of 4 KiB
 * that follow ask for their own. */
static __cold int store_to_hole(dax_loff_t pos, uint64_t length, unsigned int flags)
{
	if (flags & DAX_IOMAP_FAULT && !(flags & DAX_IOMAP_AHEAD) &&
	    length > DAX_PAGE_SIZE)
		return 0;
	return dax_error(-ENOSPC, "byte %" PRId64 " is in a hole of the file's table "
			 "of extents: there is no block to store to", pos);
}

static int extent_table_begin(struct dax_mapping *mapping, void *private_data,
			      dax_loff_t pos, uint64_t length, unsigned int flags,
			      struct dax_iomap *iomap)
{
	const struct extent_table *table = private_data;
	const struct row *row = find_row(table->now, (uint64_t)pos);

	(void)mapping;
	iomap->offset = (dax_loff_t)row->offset;
	iomap->length = row[1].offset - row->offset;
	if (likely(row->addr == HOLE)) {
		iomap->type = DAX_IOMAP_HOLE;
		return unlikely(flags & DAX_IOMAP_WRITE) ?
			store_to_hole(pos, length, flags) : 0;
	}
	iomap->type = DAX_IOMAP_MAPPED;
	iomap->addr = row->addr;
	return 0;
}

/* ---- replacing ---------------------------------------------------------------------- */

/* Both locks exclusive: nothing can fail once the entries are gone. */
static int swap_table(struct dax_mapping *mapping, struct table **table)
{
	struct extent_table *own = mapping->private_data;
	dax_pgoff_t last = radix_tree_maxindex(&mapping->i_pages);
	struct table *old = own->now;
	int ret = writeback_exclusive(mapping, 0, last);

	if (!ret)
		ret = remove_mapping_pages(mapping, 0, last);
	if (ret)
		return ret;
	forget_stores(mapping, 0, UINT64_MAX);
	own->now = *table;
	*table = old;
	return 0;
}

static int check_and_swap(struct dax_mapping *mapping,
			  const struct dax_extent *rows, size_t nr,
			  struct table **table)
{
	int ret = extent_table_check(rows, nr, i_size_read(mapping),
				     mapping->dax_dev->size);

	return ret ? ret : swap_table(mapping, table);
}

/* Rows that are no table are found before anybody is made to wait; the size may
 * have changed meanwhile. */
int mapping_replace_extents(struct dax_mapping *mapping,
			    const struct dax_extent *rows, size_t nr)
{
	const struct layout_range all = { .mapping = mapping, .end = UINT64_MAX };
	struct table *table;
	int ret;

	if (mapping->ops != &extent_table_ops)
		return dax_error(-EINVAL, "the file's block map is no table of extents");
	ret = extent_table_check(rows, nr, 0, mapping->dax_dev->size);
	if (ret)
		return ret;
	table = make_table(rows, nr);
	if (!table)
		return -ENOMEM;
	ret = break_layouts(&all, NULL, false);
	if (!ret) {
		ret = check_and_swap(mapping, rows, nr, &table);
		mapping_unlock_both(mapping);
	}
	dax_free(table);
	return ret;
}

const struct dax_iomap_ops extent_table_ops = {
	.struct_size = sizeof(struct dax_iomap_ops),
	.iomap_begin = extent_table_begin,
	.free = extent_table_free,
};
