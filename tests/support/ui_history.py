"""Queries by which Dagster's UI shows the history of an asset."""

OF_AN_ASSET = """
query ($key: AssetKeyInput!, $partitions: [String!]) {
  assetNodeOrError(assetKey: $key) {
    __typename
    ... on AssetNode {
      partitionStats { numMaterialized numFailed numPartitions }
      assetPartitionStatuses {
        ... on TimePartitionStatuses { ranges { status startKey endKey } }
      }
      latestMaterializationByPartition(partitions: $partitions) {
        runId partition runOrError { __typename } metadataEntries { label }
      }
      assetChecksOrError {
        ... on AssetChecks {
          checks { name executionForLatestMaterialization { status evaluation { success metadataEntries { label } } } }
        }
      }
    }
  }
}
"""
LATEST = "query ($keys: [AssetKeyInput!]!) { assetsLatestInfo(assetKeys: $keys) { latestRun { status } } }"
