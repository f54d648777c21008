/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * clone.c -- files that share blocks: clone, clone a range, dedupe
 *
 * Owns: nothing; the block map shares, here its files are made ready for it.
 * Locks: i_rwsem, then invalidate_lock, both exclusive, of both files in the
 *        order of their addresses: no fault, load, store, read, write or pin
 *        is inside of either.
 * Kernel: fs/remap_range.c, generic_remap_file_range_prep(); fs/dax.c,
 *         dax_dedupe_file_range_compare() (6.0).
 * Differs: entries of both ranges go, so that every store meets the block map
 *          again; a range is cloned whole or not at all; pages that are zero in
 *          both files become holes of both.
 */
#include "clone.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "errormsg.h"
#include "invalidate.h"
#include "iomap.h"
#include "layout.h"
#include "move.h"
#include "rw.h"
#include "writeback.h"

/* What is compared at once, of each file. */
enum { COMPARE_BYTES = 1 << 16 };

/* One call: bytes [src_pos, src_pos + len) of src, and where in dst. */
struct remap_range {
	struct dax_mapping *dst, *src;
	dax_loff_t dst_pos, src_pos;
	uint64_t len;
};

/* ---- arguments ---------------------------------------------------------------- */

static int check_pos(const char *name, dax_loff_t pos, uint64_t len)
{
	if (pos < 0 || pos % DAX_PAGE_SIZE)
		return dax_error(-EINVAL, "%s %" PRId64 " is not a multiple of 4096 >= 0",
				 name, pos);
	if (pos > DAX_MAX_SIZE || len > (uint64_t)(DAX_MAX_SIZE - pos))
		return dax_error(-EFBIG, "%s %" PRId64 " + length %" PRIu64
				 " is beyond 2^63-4096", name, pos, len);
	return 0;
}

static int check_files(const struct remap_range *range)
{
	const struct dax_iomap_ops *to = READ_ONCE(range->dst->ops);
	const struct dax_iomap_ops *from = READ_ONCE(range->src->ops);
	int ret = check_pos("dst_pos", range->dst_pos, range->len);

	if (!ret)
		ret = check_pos("src_pos", range->src_pos, range->len);
	if (ret)
		return ret;
	if (!to->remap || to->remap != from->remap)
		return dax_error(-EOPNOTSUPP, "the files have no block map that can "
				 "share blocks between them");
	if (range->dst->dax_dev != range->src->dax_dev)
		return dax_error(-EXDEV, "the files lie on different devices");
	return 0;
}

static bool overlap(const struct remap_range *range)
{
	dax_loff_t distance = range->dst_pos - range->src_pos;

	return range->dst == range->src &&
	       (uint64_t)(distance < 0 ? -distance : distance) < range->len;
}

/* The end of the range in the source: of a page, or of the file where the other
 * file ends too (@exactly there, or not behind it). */
static int check_end_of_range(const struct remap_range *range, bool exactly)
{
	dax_loff_t src_end = range->src_pos + (dax_loff_t)range->len;
	dax_loff_t dst_end = range->dst_pos + (dax_loff_t)range->len;
	dax_loff_t dst_size = i_size_read(range->dst);

	if (src_end > i_size_read(range->src))
		return dax_error(-EINVAL, "the range ends at byte %" PRId64 " of a source "
				 "of %" PRId64, src_end, i_size_read(range->src));
	if (src_end % DAX_PAGE_SIZE == 0)
		return 0;
	if (src_end != i_size_read(range->src) ||
	    (exactly ? dst_end != dst_size : dst_end < dst_size))
		return dax_error(-EINVAL, "the range ends within a page (byte %" PRId64
				 "), and not at the end of both files", src_end);
	return 0;
}

/* Both locks held: sizes do not change any more. */
static int check_range(const struct remap_range *range, bool exactly)
{
	int ret = mapping_check_writable(range->dst);

	if (!ret)
		ret = mapping_check_writable(range->src);
	if (!ret && overlap(range))
		ret = dax_error(-EINVAL, "the ranges overlap");
	return ret ? ret : check_end_of_range(range, exactly);
}

/* ---- both files ready ------------------------------------------------------------- */

static dax_pgoff_t last_page(dax_loff_t pos, uint64_t len)
{
	return ((uint64_t)pos + len - 1) >> DAX_PAGE_SHIFT;
}

static struct layout_range layout_of(struct dax_mapping *mapping, dax_loff_t pos,
				     uint64_t len)
{
	return (struct layout_range){
		.mapping = mapping, .first = (dax_pgoff_t)pos >> DAX_PAGE_SHIFT,
		.end = len ? last_page(pos, len) + 1 : UINT64_MAX,
	};
}

/* Take all locks; frames that others would come to share are not pinned. */
static int lock_range(const struct remap_range *range)
{
	struct layout_range dst = layout_of(range->dst, range->dst_pos, range->len);
	struct layout_range src = layout_of(range->src, range->src_pos, range->len);

	return break_layouts(&dst, &src, false);
}

static void unlock_range(const struct remap_range *range)
{
	mapping_unlock_two(range->dst, range->src);
}

/* Blocks are shared clean: a tag speaks of one file's bytes, and a DIRTY entry
 * has a block of its own. */
static int remove_entries(struct dax_mapping *mapping, dax_loff_t pos,
			  uint64_t len)
{
	dax_pgoff_t first = (dax_pgoff_t)pos >> DAX_PAGE_SHIFT;
	dax_pgoff_t last = last_page(pos, len);
	int ret = writeback_exclusive(mapping, first, last);

	return ret ? ret : remove_mapping_pages(mapping, first, last);
}

/* The next fault on a page of either range asks the block map. */
static int remove_both(const struct remap_range *range)
{
	int ret = remove_entries(range->src, range->src_pos, range->len);

	return ret ? ret : remove_entries(range->dst, range->dst_pos, range->len);
}

static int remap(const struct remap_range *range)
{
	struct dax_mapping *dst = range->dst, *src = range->src;

	dst->cloned = src->cloned = true;
	return iomap_result(dst->ops->remap(dst, dst->private_data, range->dst_pos,
					    src, src->private_data, range->src_pos,
					    range->len));
}

/* ---- clone ------------------------------------------------------------------------ */

/* The tree of a file that grows, and its tail if the range begins behind it. */
static int prepare_growth(struct dax_mapping *mapping, dax_loff_t pos,
			  dax_loff_t end)
{
	if (end <= i_size_read(mapping))
		return 0;
	if (radix_tree_extend(&mapping->i_pages, mapping_maxindex(end)))
		return dax_error(-ENOMEM, "no memory for a taller tree");
	return pos < i_size_read(mapping) ? 0 : zero_tail(mapping);
}

/* All locks held, the range checked. */
static int clone_locked(const struct remap_range *range)
{
	dax_loff_t end = range->dst_pos + (dax_loff_t)range->len;
	int ret = prepare_growth(range->dst, range->dst_pos, end);

	if (ret)
		return ret;
	ret = remove_both(range);
	if (!ret)
		ret = remap(range);
	if (ret)
		return ret;
	forget_stores(range->dst, (uint64_t)range->dst_pos,
		      (last_page(range->dst_pos, range->len) + 1) << DAX_PAGE_SHIFT);
	if (end > i_size_read(range->dst))
		smp_store_release(&range->dst->i_size, end);
	return 0;
}

int mapping_clone_whole(struct dax_mapping *dst, struct dax_mapping *src)
{
	struct remap_range range = { .dst = dst, .src = src };
	int ret = lock_range(&range);

	if (ret)
		return ret;
	range.len = (uint64_t)i_size_read(src);
	ret = check_range(&range, false);
	if (!ret && range.len)
		ret = clone_locked(&range);
	unlock_range(&range);
	return ret;
}

/* Length 0: up to the end of the source. */
static int clone_checked(struct remap_range *range)
{
	dax_loff_t size = i_size_read(range->src);
	int ret;

	if (!range->len && range->src_pos < size)
		range->len = (uint64_t)(size - range->src_pos);
	if (!range->len)
		return 0;
	ret = check_files(range);
	if (!ret)
		ret = check_range(range, false);
	return ret ? ret : clone_locked(range);
}

int mapping_clone_range(struct dax_mapping *dst, dax_loff_t dst_pos,
			struct dax_mapping *src, dax_loff_t src_pos,
			uint64_t len)
{
	struct remap_range range = { dst, src, dst_pos, src_pos, len };
	int ret = check_files(&range);

	if (!ret)
		ret = lock_range(&range);
	if (ret)
		return ret;
	ret = clone_checked(&range);
	unlock_range(&range);
	return ret;
}

/* ---- dedupe ------------------------------------------------------------------------- */

/* What both files have in one step. */
struct compare {
	char *dst, *src;	/* COMPARE_BYTES each */
};

static int compare_init(struct compare *compare)
{
	compare->dst = dax_zalloc(COMPARE_BYTES);
	compare->src = dax_zalloc(COMPARE_BYTES);
	if (compare->dst && compare->src)
		return 0;
	dax_free(compare->dst);
	dax_free(compare->src);
	return dax_error(-ENOMEM, "no memory to compare two ranges");
}

static void compare_fini(struct compare *compare)
{
	dax_free(compare->dst);
	dax_free(compare->src);
}

/* All of @n bytes, or an error. */
static int read_bytes(struct dax_mapping *mapping, char *buf, size_t n,
		      dax_loff_t pos)
{
	ssize_t ret = mapping_read_locked(mapping, buf, n, pos);

	if (ret < 0)
		return (int)ret;
	return (size_t)ret == n ? 0 : -EIO;
}

/* Bytes from @pos on that no block is needed to read; 0: the page has one. */
static int64_t bytes_of_hole(struct dax_mapping *mapping, dax_loff_t pos,
			     uint64_t len)
{
	uint64_t asked = len < DAX_PAGE_SIZE ? len : DAX_PAGE_SIZE, n = 0;
	struct dax_iomap iomap;
	int ret;

	do {	/* all of it only if there is a hole: data may be one long run */
		ret = iomap_begin(mapping, pos, asked, 0, &iomap);
		if (ret)
			return ret;
		n = iomap.type == DAX_IOMAP_MAPPED ? 0 : iomap_left(&iomap, pos, asked);
		ret = iomap_end(mapping, pos, asked, 0, 0, &iomap);
		if (ret || n < asked || asked == len)
			break;
		asked = len;
	} while (true);
	return ret ? ret : (int64_t)n;
}

/* The same of both files. */
static int64_t bytes_of_both_holes(const struct remap_range *range, uint64_t done)
{
	int64_t n = bytes_of_hole(range->src, range->src_pos + (dax_loff_t)done,
				  range->len - done);

	if (n <= 0)
		return n;
	return bytes_of_hole(range->dst, range->dst_pos + (dax_loff_t)done,
			     (uint64_t)n);
}

static size_t step_bytes(const struct remap_range *range, uint64_t done)
{
	uint64_t left = range->len - done;

	return left < COMPARE_BYTES ? (size_t)left : COMPARE_BYTES;
}

/* One step: the @n bytes from @done on are the same, or an error. */
static int compare_bytes(const struct remap_range *range, struct compare *compare,
			 uint64_t done, size_t n)
{
	int ret = read_bytes(range->src, compare->src, n,
			     range->src_pos + (dax_loff_t)done);

	if (!ret)
		ret = read_bytes(range->dst, compare->dst, n,
				 range->dst_pos + (dax_loff_t)done);
	if (!ret && memcmp(compare->src, compare->dst, n))
		ret = dax_error(-EBADE, "the ranges differ");
	return ret;
}

/* 0: the bytes of both ranges are the same.  Holes are of any length, and are
 * not read. */
static int compare_ranges(const struct remap_range *range, struct compare *compare)
{
	int ret = 0;

	for (uint64_t done = 0; !ret && done < range->len;) {
		int64_t holes = bytes_of_both_holes(range, done);
		size_t n = step_bytes(range, done);

		if (holes < 0)
			return (int)holes;
		if (!holes)
			ret = compare_bytes(range, compare, done, n);
		done += holes ? (uint64_t)holes : n;
	}
	return ret;
}

static int punch_pages(struct dax_mapping *mapping, dax_loff_t pos, uint64_t len)
{
	uint64_t whole = (len + DAX_PAGE_SIZE - 1) & ~(uint64_t)(DAX_PAGE_SIZE - 1);

	return iomap_result(mapping->ops->punch(mapping, mapping->private_data, pos,
						whole));
}

/* A run of pages that are all zero, or that all are not. */
static int share_run(const struct remap_range *range, uint64_t from, uint64_t end,
		     bool zero)
{
	struct remap_range run = *range;
	int ret;

	run.dst_pos += (dax_loff_t)from;
	run.src_pos += (dax_loff_t)from;
	run.len = end - from;
	if (from == end)
		return 0;
	if (!zero || !range->src->ops->punch)
		return remap(&run);
	ret = punch_pages(run.src, run.src_pos, run.len);
	return ret ? ret : punch_pages(run.dst, run.dst_pos, run.len);
}

/* Is the page at @done zero, or a hole?  Up to *ret_next all are like it. */
static int next_is_zero(const struct remap_range *range, struct compare *compare,
			uint64_t done, uint64_t *ret_next, bool *ret_zero)
{
	dax_loff_t pos = range->src_pos + (dax_loff_t)done;
	uint64_t left = range->len - done;
	size_t n = left < DAX_PAGE_SIZE ? (size_t)left : DAX_PAGE_SIZE;
	int64_t hole = bytes_of_hole(range->src, pos, left);
	int ret;

	if (hole < 0)
		return (int)hole;
	*ret_zero = true;
	*ret_next = done + (uint64_t)hole;
	if (hole)
		return 0;
	ret = read_bytes(range->src, compare->src, n, pos);
	*ret_zero = !ret && mem_is_zero(compare->src, n);
	*ret_next = done + n;
	return ret;
}

/* The ranges are the same: share, run by run. */
static int share_ranges(const struct remap_range *range, struct compare *compare)
{
	uint64_t from = 0, next = 0;
	bool zero = false, now = false;
	int ret = 0;

	for (uint64_t done = 0; done < range->len; done = next) {
		ret = next_is_zero(range, compare, done, &next, &now);
		if (!ret && now != zero) {
			ret = share_run(range, from, done, zero);
			from = done;
			zero = now;
		}
		if (ret)
			return ret;
	}
	return share_run(range, from, range->len, zero);
}

/* The CPU's stores ask for no lock: they are over before the bytes are compared. */
static void unmap_real_range(struct dax_mapping *mapping, dax_loff_t pos, uint64_t len)
{
	unmap_real_pages(mapping, (dax_pgoff_t)pos >> DAX_PAGE_SHIFT,
			 last_page(pos, len));
}

static int dedupe_locked(const struct remap_range *range)
{
	struct compare compare;
	int ret = check_range(range, true);

	if (!ret && range->dst_pos + (dax_loff_t)range->len > i_size_read(range->dst))
		ret = dax_error(-EINVAL, "the range ends at byte %" PRId64 " of a file of %"
				PRId64, range->dst_pos + (dax_loff_t)range->len,
				i_size_read(range->dst));
	if (!ret)
		ret = compare_init(&compare);
	if (ret)
		return ret;
	unmap_real_range(range->src, range->src_pos, range->len);
	unmap_real_range(range->dst, range->dst_pos, range->len);
	ret = compare_ranges(range, &compare);
	if (!ret)
		ret = remove_both(range);
	if (!ret)
		ret = share_ranges(range, &compare);
	compare_fini(&compare);
	return ret;
}

int64_t mapping_dedupe_range(struct dax_mapping *dst, dax_loff_t dst_pos,
			     struct dax_mapping *src, dax_loff_t src_pos,
			     uint64_t len)
{
	struct remap_range range = { dst, src, dst_pos, src_pos, len };
	int ret = check_files(&range);

	if (ret || !len)
		return ret;
	ret = lock_range(&range);
	if (ret)
		return ret;
	ret = dedupe_locked(&range);
	unlock_range(&range);
	return ret ? ret : (int64_t)len;
}
