-- Whoever sees a repository reads why its deliveries were refused. These reasons named other repositories, which may be
-- private, and connections.
UPDATE deliveries SET reason = 'refused: the delivery is for another repository'
WHERE reason LIKE '%refused: the delivery is for `%';
UPDATE deliveries SET reason = 'refused: the delivery gives the repository a new name that the forge does not confirm'
WHERE reason LIKE '%refused: the delivery calls the repository `%';
