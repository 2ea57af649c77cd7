"""The local page: explain new pictures, hide a region, judge prototypes; thin HTTP over a run or a classifier."""
