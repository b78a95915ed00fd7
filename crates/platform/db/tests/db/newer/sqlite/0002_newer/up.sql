CREATE TABLE newer (id bigint PRIMARY KEY);
