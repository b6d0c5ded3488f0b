-- A publish whose content was deleted takes none any more, whoever writes: an
-- answer that comes late says how it ended, and of what only codes and ids.
UPDATE publishes SET checkpoint = NULL,
  result = result - 'metadata' || '{"permalink": null, "caption": ""}',
  error = error - 'violations' || '{"message": "deleted with the account"}'
WHERE blanked_at IS NOT NULL;
ALTER TABLE publishes DROP CONSTRAINT publishes_blanked,
  ADD CONSTRAINT publishes_blanked CHECK (blanked_at IS NULL OR (request IS NULL AND request_sha256 IS NULL AND content_sha256 IS NULL AND checkpoint IS NULL
    AND result - 'postId' - 'timestamp' = '{"permalink": null, "caption": ""}'
    AND error - 'code' - 'providerCode' - 'providerRequestId' = '{"message": "deleted with the account"}'));
