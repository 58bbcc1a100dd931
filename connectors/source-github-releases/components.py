"""What the manifest cannot say: totals over the files of a release."""

from dataclasses import dataclass
from typing import Any, Mapping, Optional

from airbyte_cdk.sources.declarative.transformations import RecordTransformation


@dataclass
class CountDownloads(RecordTransformation):
    """Adds the number of a release's files and of their downloads, and the login of its author."""

    def transform(
        self,
        record: dict[str, Any],
        config: Optional[Mapping[str, Any]] = None,
        stream_state: Optional[Mapping[str, Any]] = None,
        stream_slice: Optional[Mapping[str, Any]] = None,
    ) -> None:
        assets = record.get("assets") or []
        record["asset_count"] = len(assets)
        record["download_count"] = sum(asset.get("download_count", 0) for asset in assets)
        record["author_login"] = (record.get("author") or {}).get("login")
